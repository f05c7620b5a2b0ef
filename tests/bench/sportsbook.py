"""`just bench sportsbook`: bets through the gateway, settlements with payouts, odds, and growth.

Everything that a bet touches runs as `just up` runs it, on this machine, beside the load generator:
gateway, identity, sportsbook, wallet and the three servers.
"""

import argparse
import asyncio
import dataclasses
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import msgspec

from svc.mesh.clock import new_id
from svc.platform.daemon import Daemon
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT
from svc.platform.ports import HOST
from svc.wallet.contract import APPLY_BATCH, Batch, BatchItem
from tests.bench import sportsbook_report as report
from tests.bench.load_bets import BetOrder, BetsTaken
from tests.bench.load_odds import OddsOrder, OddsSeen
from tests.bench.measures import Cpu, CpuSeconds, Quiet, per_transfer_us, quantile
from tests.bench.sportsbook_bets import PAYOUT, Strikes
from tests.bench.sportsbook_report import BETS, ODDS, ONE_MARKET, SETTLEMENTS, Row
from tests.bench.stage import BenchError, Child, Stage, staged
from tests.support.mesh import Operator
from tests.support.platform import Platform

SERVICES = ("wallet", "identity", "sportsbook", "gateway")
PASSWORD = "correct horse battery"
PRICE = "2.50"
READY_S_MAX = 30.0
PAID_S_MAX = 300.0
QUIET_S_MAX = 90.0
EVENTS = 20
ODDS_EVENTS = 60
ODDS_MARKETS, ODDS_OUTCOMES = 8, 3
SMALL = 100
"""Bets of the market whose cost is compared, beside few and many others."""
TIMES = 15
UNFINISHED = ROOT / ".run" / "bench"
"""Where the results of runs lie that are not for README: quick ones, and parts."""
PARTS = (BETS, SETTLEMENTS, ODDS, ONE_MARKET)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; `quick` is for seeing that everything works."""

    rounds: int
    seconds: float
    warm_s: float
    clients: int
    settled: int
    odds: tuple[int, ...]
    grown: tuple[int, ...]


FULL = Size(
    rounds=3, seconds=10.0, warm_s=2.0, clients=64, settled=20_000, odds=(2_400, 4_800, 9_600),
    grown=(1_000, 1_000_000),
)  # fmt: skip
QUICK = Size(
    rounds=1, seconds=3.0, warm_s=1.0, clients=64, settled=2_000, odds=(2_400,),
    grown=(1_000, 20_000),
)  # fmt: skip


class Bench:
    """One run of the benchmark on a stage."""

    def __init__(self, stage: Stage, size: Size, say: Say) -> None:
        """`say` tells what is being done."""
        self.stage = stage
        self.size = size
        self.say = say
        self.settings = stage.installation.values
        self.feed = httpx.AsyncClient(base_url=self.settings["GATEWAY_URL"], timeout=120)
        self.at_ms = 0
        self.tokens: list[str] = []
        self.user_ids: list[str] = []
        self.processes: dict[str, list[int]] = {**stage.servers}
        valkey = Daemon("valkey", stage.installation.run_dir).process()
        if valkey is not None:
            self.processes["valkey"] = [valkey.pid]
        self.rows: list[Row] = []

    async def run(self, only: Sequence[str] = ()) -> list[Row]:
        """Start everything, measure all or some parts, and return what was seen."""
        parts = {BETS: self.bets, SETTLEMENTS: self.settlements, ODDS: self.odds}
        async with self.services(), self.feed:
            self.say("opening accounts")
            await self.open_accounts()
            for name, part in parts.items():
                for number in range(1, self.size.rounds + 1):
                    if not only or name in only:
                        self.say(f"round {number}/{self.size.rounds}: {name}")
                        await part(number)
                        await self.quiet()
            if not only or ONE_MARKET in only:
                for count in self.size.grown:
                    await self.beside(count)
        return self.rows

    @property
    def cpu(self) -> Cpu:
        """Return the clock of all processes that are measured."""
        return Cpu(self.processes)

    async def quiet(self) -> float:
        """Wait until everybody has heard of everything; return how many seconds that took."""
        quiet = Quiet(self.cpu, QUIET_S_MAX)
        while not quiet.look():  # noqa: ASYNC110  # there is nobody who would tell
            await asyncio.sleep(0.25)
        return quiet.settled_s

    @asynccontextmanager
    async def services(self) -> AsyncGenerator[None]:
        """Run the services that a bet touches, each a process; no limits by rate in the way."""
        extra = {"RATE_LIMIT_PLAYER": "100000/100000", "RATE_LIMIT_CREDENTIALS": "1000/1000"}
        async with AsyncExitStack() as stack:
            for name in SERVICES:
                command = ("-m", "svc", "run", name)
                child = await stack.enter_async_context(self.stage.process(name, command, extra))
                await self.ready(child, self.settings[f"{name.upper()}_PORT"])
                self.processes[name] = [child.pid]
            yield

    async def ready(self, child: Child, port: str) -> None:
        """Wait until a service says that it is ready."""
        deadline = time.monotonic() + READY_S_MAX
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            while time.monotonic() < deadline and child.process.returncode is None:
                try:
                    if (await client.get(f"http://{HOST}:{port}/readyz")).is_success:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        raise BenchError(f"it does not become ready\n{child.tail()}")

    async def open_accounts(self) -> None:
        """Open an account with money for every client."""
        for _ in range(self.size.clients):
            email = f"player-{new_id()}@betmesh-players.com"
            account = {
                "email": email,
                "phone": f"+4915{int(new_id().replace('-', ''), 16) % 10**9:09d}",
                "password": PASSWORD,
                "date_of_birth": "1990-05-17",
                "currency": "EUR",
            }
            opened = await self.feed.post("/v1/users", json=account)
            opened.raise_for_status()
            session = await self.feed.post(
                "/v1/sessions", json={"email": email, "password": PASSWORD}
            )
            session.raise_for_status()
            self.user_ids.append(opened.json()["user_id"])
            self.tokens.append(session.json()["access_token"])
        await self.deposit(10**12)

    async def deposit(self, amount: int) -> None:
        """Give every player money."""
        platform = Platform(self.stage.installation)
        async with platform.nats("operator") as connection:
            items = [
                BatchItem(
                    op="credit_balance", transfer_id=new_id(), user_id=user_id, amount=amount,
                    currency="EUR", kind="deposit", reference="bench",
                )
                for user_id in self.user_ids
            ]  # fmt: skip
            operator = Operator(platform, connection)
            await operator.caller.start()
            await operator.call(APPLY_BATCH, Batch(transfers=items))

    async def tell(self, name: str, event_id: str, inside: str, more: str = "") -> None:
        """Send one message of the feed."""
        self.at_ms = max(self.at_ms + 1, time.time_ns() // 1_000_000)
        head = f'product="1" event_id="{event_id}" timestamp="{self.at_ms}" {more}'
        answer = await self.feed.post(
            "/feeds/betradar",
            content=f"<{name} {head}>{inside}</{name}>",
            headers={
                "x-access-token": self.settings["BETRADAR_TOKEN"],
                "content-type": "application/xml",
            },
        )
        answer.raise_for_status()

    async def on_sale(self) -> str:
        """Put an event on sale and return its id."""
        event_id = f"sr:match:{int(new_id().replace('-', ''), 16) % 10**15}"
        outcomes = "".join(f'<outcome id="{number}" odds="{PRICE}"/>' for number in (1, 2, 3))
        market = f'<market id="1" status="1">{outcomes}</market>'
        await self.tell("odds_change", event_id, f"<odds>{market}</odds>")
        return event_id

    async def settle(self, event_id: str) -> None:
        """Settle an event's market: its first outcome won."""
        outcomes = '<outcome id="1" result="1"/><outcome id="2" result="0"/>'
        market = f'<market id="1">{outcomes}</market>'
        await self.tell(
            "bet_settlement", event_id, f"<outcomes>{market}</outcomes>", 'certainty="2"'
        )

    async def ordered(self, name: str, order: msgspec.Struct, seconds: float) -> bytes:
        """Let a load generator carry out an order; return its answer."""
        command = ("-m", f"tests.bench.load_{name}")
        async with self.stage.process(name, command) as child:
            assert child.process.stdin is not None
            child.process.stdin.write(msgspec.json.encode(order) + b"\n")
            await child.process.stdin.drain()
            return await child.line(seconds + READY_S_MAX)

    async def bets(self, number: int) -> None:
        """Let all clients bet for a while."""
        address = urlsplit(self.settings["GATEWAY_URL"])
        order = BetOrder(
            host=address.hostname or HOST,
            port=address.port or 80,
            tokens=self.tokens,
            event_ids=[await self.on_sale() for _ in range(EVENTS)],
            odds=PRICE,
            clients=self.size.clients,
            seconds=self.size.seconds,
            warm_s=self.size.warm_s,
        )
        before = self.cpu.read()
        line = await self.ordered("bets", order, order.seconds + order.warm_s)
        after = self.cpu.read()
        taken = msgspec.json.decode(line, type=BetsTaken)
        self.note(
            number, BETS, self.size.clients, taken.accepted, taken.seconds,
            p50_ms=taken.p50_ms, p99_ms=taken.p99_ms, others=taken.others,
            cpu_us=shares(before, after, taken.asked, taken.cpu_s),
        )  # fmt: skip

    async def settlements(self, number: int) -> None:
        """Settle one market with many bets, from its message to the last payout in the wallet."""
        count, event_id = self.size.settled, await self.on_sale()
        async with self.strikes() as strikes:
            await strikes.strike(event_id, count)
            await strikes.tidy()
            await self.quiet()
            credited = await self.credited()
            before, began = self.cpu.read(), time.monotonic()
            await self.settle(event_id)
            while await strikes.waits():
                if time.monotonic() > began + PAID_S_MAX:
                    raise BenchError("the payouts do not come to an end")
                await asyncio.sleep(0.02)
            took, after = time.monotonic() - began, self.cpu.read()
            heard_s = await self.quiet()
            credits_, amount = await self.credited()
        if (credits_ - credited[0], amount - credited[1]) != (count, count * PAYOUT):
            raise BenchError(f"{credits_ - credited[0]} payouts of {count} bets")
        self.note(
            number, SETTLEMENTS, count, count, took, cpu_us=shares(before, after, count),
            heard_s=heard_s, heard_cpu_us=shares(before, self.cpu.read(), count),
        )  # fmt: skip

    async def credited(self) -> tuple[int, int]:
        """Return how many payouts of bets are in the ledger, and how much they are together."""
        async with self.stage.database("wallet") as database:
            row = await database.fetchrow(
                "SELECT count(*), coalesce(sum(cash_change), 0)::bigint FROM transfer"
                " WHERE kind = 'bet_payout' AND outcome = 'applied'"
            )
        assert row is not None
        return row[0], row[1]

    async def odds(self, number: int) -> None:
        """Send odds at several rates while a client watches the board."""
        address = urlsplit(self.settings["GATEWAY_URL"])
        each = ODDS_MARKETS * ODDS_OUTCOMES
        for offered in self.size.odds:
            order = OddsOrder(
                host=address.hostname or HOST,
                port=address.port or 80,
                token=self.settings["BETRADAR_TOKEN"],
                event_ids=[await self.on_sale() for _ in range(ODDS_EVENTS)],
                markets=ODDS_MARKETS,
                outcomes=ODDS_OUTCOMES,
                per_s=offered / each,
                seconds=self.size.seconds,
                warm_s=self.size.warm_s,
            )
            before = self.cpu.read()
            line = await self.ordered("odds", order, order.seconds + order.warm_s)
            after = self.cpu.read()
            seen = msgspec.json.decode(line, type=OddsSeen)
            others = {**seen.others, **({"unseen": u} if (u := seen.due - seen.seen) else {})}
            self.note(
                number, ODDS, offered, seen.seen * each, order.seconds,
                p50_ms=seen.p50_ms, p99_ms=seen.p99_ms, others=others,
                cpu_us=shares(before, after, seen.sent * each, seen.cpu_s),
            )  # fmt: skip
            await self.quiet()

    async def beside(self, count: int) -> None:
        """Settle a market of few bets again and again beside so many open ones."""
        self.say(f"settling one market beside {count:,} open bets")
        async with self.strikes() as strikes:
            await strikes.strike(await self.on_sale(), count)
            await strikes.tidy()
            for number in range(1, self.size.rounds + 1):
                took: list[float] = []
                before, after = CpuSeconds(), CpuSeconds()
                for _ in range(TIMES):
                    event_id = await self.on_sale()
                    await strikes.strike(event_id, SMALL)
                    await self.quiet()
                    began, start = time.perf_counter(), self.cpu.read()
                    await self.settle(event_id)
                    took.append((time.perf_counter() - began) * 1000)
                    end = self.cpu.read()
                    for name in start:
                        before[name] = before.get(name, 0) + start[name]
                        after[name] = after.get(name, 0) + end[name]
                took.sort()
                self.note(
                    number, ONE_MARKET, count, TIMES * SMALL, sum(took) / 1000,
                    p50_ms=quantile(took, 0.5), p99_ms=quantile(took, 0.99),
                    cpu_us=shares(before, after, TIMES * SMALL),
                )  # fmt: skip

    @asynccontextmanager
    async def strikes(self) -> AsyncGenerator[Strikes]:
        """Write bets straight into the sportsbook's database."""
        async with self.stage.database("sportsbook") as database:
            yield Strikes(database, self.user_ids)

    def note(
        self,
        number: int,
        what: str,
        size: int,
        done: int,
        seconds: float,
        *,
        p50_ms: float = 0,
        p99_ms: float = 0,
        cpu_us: dict[str, float],
        others: dict[str, int] | None = None,
        heard_s: float = 0,
        heard_cpu_us: dict[str, float] | None = None,
    ) -> None:
        """Keep a row and tell it."""
        row = Row(
            round=number, what=what, size=size, done=done, per_s=round(done / seconds, 1),
            p50_ms=round(p50_ms, 2), p99_ms=round(p99_ms, 2), cpu_us=cpu_us, others=others or {},
            heard_s=heard_s, heard_cpu_us=heard_cpu_us or {},
        )  # fmt: skip
        self.rows.append(row)
        self.say(report.sentence(row))


def shares(
    before: CpuSeconds, after: CpuSeconds, count: int, generator_s: float | None = None
) -> dict[str, float]:
    """Return the microseconds of CPU of each, by process and with the load generator's."""
    found = per_transfer_us(before, after, count)
    if generator_s is not None:
        found["generator"] = round(generator_s * 1e6 / max(count, 1), 1)
    return found


def main(given: list[str]) -> int:
    """Measure and write what was seen; exit code 1 when something failed."""
    parser = argparse.ArgumentParser(prog="just bench sportsbook", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    parser.add_argument("--seconds", type=float, help="per measurement of bets and odds")
    parser.add_argument("--only", nargs="+", default=[], choices=PARTS, help="measure only these")
    parser.add_argument("--again", action="store_true", help="measure nothing: write README anew")
    arguments = parser.parse_args(given)
    if arguments.again:
        return report.again()
    size = QUICK if arguments.quick else FULL
    chosen = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    size = dataclasses.replace(size, **{k: v for k, v in chosen.items() if v is not None})
    began = time.monotonic()
    try:
        with staged() as stage:
            rows = asyncio.run(Bench(stage, size, print).run(arguments.only))
    except (BenchError, PlatformError, httpx.HTTPError) as failure:
        print(f"bench: {failure!r}", file=sys.stderr)
        return 1
    whole = not arguments.quick and not arguments.only
    found = report.results(rows, size.rounds, size.seconds, quick=arguments.quick)
    report.leave(found, UNFINISHED if not whole else report.RESULTS, readme=whole)
    print(f"measured in {time.monotonic() - began:.0f} s")
    return 0
