"""`just bench sportsbook`: bets through the gateway, settlements with payouts, and their growth.

Everything that a bet touches runs as `just up` runs it, on this machine, beside the load generator:
gateway, identity, sportsbook, wallet and the three servers.
"""

import argparse
import asyncio
import dataclasses
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from svc.mesh.clock import new_id
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT
from svc.platform.ports import HOST
from svc.wallet.contract import APPLY_BATCH, Batch, BatchItem
from tests.bench import machine
from tests.bench.load_bets import BetOrder, BetsTaken
from tests.bench.measures import Cpu, per_transfer_us
from tests.bench.stage import BenchError, Child, Stage, staged
from tests.support.mesh import Operator
from tests.support.platform import Platform

SERVICES = ("wallet", "identity", "sportsbook", "gateway")
PASSWORD = "correct horse battery"
ODDS = "2.50"
READY_S_MAX = 30.0
PAID_S_MAX = 300.0
EVENTS = 20
RESULTS = ROOT / "tests" / "bench" / "results"
UNFINISHED = ROOT / ".run" / "bench"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured; `quick` is for seeing that everything works."""

    rounds: int
    seconds: float
    warm_s: float
    clients: int
    settled: int
    grown: tuple[int, ...]


FULL = Size(
    rounds=3, seconds=10.0, warm_s=2.0, clients=64, settled=20_000, grown=(1_000, 1_000_000)
)
QUICK = Size(rounds=1, seconds=3.0, warm_s=1.0, clients=64, settled=2_000, grown=(1_000, 20_000))


class Results(msgspec.Struct, kw_only=True):
    """sportsbook.json: each number as measured in every round, on what machine."""

    bets_per_s: list[float]
    bet_p50_ms: list[float]
    bet_p99_ms: list[float]
    bet_cpu_us: list[dict[str, float]]
    other_answers: dict[str, int]
    settlements_per_s: list[float]
    settlement_ms_by_open_bets: dict[str, float]
    growth: float
    quick: bool
    measured_at: datetime
    machine: dict[str, Any]
    versions: dict[str, str]


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

    async def run(self) -> Results:
        """Start everything, measure, and return what was seen."""
        found = Results(
            bets_per_s=[],
            bet_p50_ms=[],
            bet_p99_ms=[],
            bet_cpu_us=[],
            other_answers={},
            settlements_per_s=[],
            settlement_ms_by_open_bets={},
            growth=0,
            quick=self.size == QUICK,
            measured_at=datetime.now(UTC).replace(microsecond=0),
            machine=machine.machine(),
            versions=machine.versions(),
        )
        async with self.services(), self.feed:
            self.say("opening accounts")
            await self.open_accounts()
            for number in range(1, self.size.rounds + 1):
                self.say(f"round {number}/{self.size.rounds}: bets")
                await self.bets(found)
            for number in range(1, self.size.rounds + 1):
                self.say(f"round {number}/{self.size.rounds}: settlements")
                found.settlements_per_s.append(await self.settlements())
            for count in self.size.grown:
                self.say(f"settling one market beside {count} open bets")
                found.settlement_ms_by_open_bets[str(count)] = await self.beside(count)
        took = list(found.settlement_ms_by_open_bets.values())
        found.growth = round(took[-1] / took[0], 2)
        return found

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
        outcomes = "".join(f'<outcome id="{number}" odds="{ODDS}"/>' for number in (1, 2, 3))
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

    async def bets(self, found: Results) -> None:
        """Let all clients bet for a while."""
        address = urlsplit(self.settings["GATEWAY_URL"])
        order = BetOrder(
            host=address.hostname or HOST,
            port=address.port or 80,
            tokens=self.tokens,
            event_ids=[await self.on_sale() for _ in range(EVENTS)],
            odds=ODDS,
            clients=self.size.clients,
            seconds=self.size.seconds,
            warm_s=self.size.warm_s,
        )
        command = ("-m", "tests.bench.load_bets")
        async with self.stage.process("bettors", command) as child:
            assert child.process.stdin is not None
            cpu = Cpu(self.processes)
            before = cpu.read()
            child.process.stdin.write(msgspec.json.encode(order) + b"\n")
            await child.process.stdin.drain()
            line = await child.line(order.seconds + order.warm_s + READY_S_MAX)
            after = cpu.read()
        taken = msgspec.json.decode(line, type=BetsTaken)
        used = per_transfer_us(before, after, taken.asked)
        found.bet_cpu_us.append({**used, "bettors": round(taken.cpu_s * 1e6 / taken.asked, 1)})
        found.bets_per_s.append(round(taken.accepted / taken.seconds, 1))
        found.bet_p50_ms.append(round(taken.p50_ms, 2))
        found.bet_p99_ms.append(round(taken.p99_ms, 2))
        for status, count in taken.others.items():
            found.other_answers[status] = found.other_answers.get(status, 0) + count

    async def settlements(self) -> float:
        """Settle one market with many bets; return how many a second were settled and paid."""
        event_id = await self.on_sale()
        await self.strike(event_id, self.size.settled)
        began = time.monotonic()
        await self.settle(event_id)
        async with self.stage.database("sportsbook") as database:
            while await database.fetchval(
                "SELECT EXISTS (SELECT FROM transfer_order WHERE done_at IS NULL)"
            ):
                if time.monotonic() > began + PAID_S_MAX:
                    raise BenchError("the payouts do not come to an end")
                await asyncio.sleep(0.02)
        return round(self.size.settled / (time.monotonic() - began), 1)

    async def beside(self, count: int) -> float:
        """Return how long 100 bets of one market take to settle beside so many open ones, in ms."""
        other = await self.on_sale()
        await self.strike(other, count)
        took: list[float] = []
        for _ in range(5):
            event_id = await self.on_sale()
            await self.strike(event_id, 100)
            began = time.perf_counter()
            await self.settle(event_id)
            took.append((time.perf_counter() - began) * 1000)
        return round(sorted(took)[len(took) // 2], 2)

    async def strike(self, event_id: str, count: int) -> None:
        """Write accepted singles on an event's first outcome, as striking leaves them."""
        async with self.stage.database("sportsbook") as database:
            await database.execute(
                """
                INSERT INTO player (user_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING
                """,
                self.user_ids,
            )
            await database.execute(
                """
                WITH struck AS (
                    INSERT INTO bet (bet_id, user_id, idempotency_key, request_hash, kind, lines,
                        unit_stake, stake, currency, odds, potential_payout, status,
                        stake_transfer_id, rollback_transfer_id, placed_at, accepted_at)
                    SELECT gen_random_uuid(), ($1::uuid[])[1 + n % cardinality($1::uuid[])],
                        gen_random_uuid()::text, '\\x00', 'single', 1, 100, 100, 'EUR', 2.50, 250,
                        'accepted', gen_random_uuid(), gen_random_uuid(), now(), now()
                    FROM generate_series(1, $3::integer) AS n
                    RETURNING bet_id
                )
                INSERT INTO leg (bet_id, leg_no, event_id, market_id, specifiers, outcome_id, odds)
                SELECT bet_id, 1, $2, 1, '', '1', 2.50 FROM struck
                """,
                self.user_ids,
                event_id,
                count,
                timeout=600,
            )
            await database.execute("ANALYZE bet, leg", timeout=600)


def main(given: list[str]) -> int:
    """Measure and write what was seen; exit code 1 when something failed."""
    parser = argparse.ArgumentParser(prog="just bench sportsbook", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument("--seconds", type=float, help="per measurement of bets")
    arguments = parser.parse_args(given)
    size = QUICK if arguments.quick else FULL
    if arguments.seconds:
        size = dataclasses.replace(size, seconds=arguments.seconds)
    try:
        with staged() as stage:
            found = asyncio.run(Bench(stage, size, print).run())
    except (BenchError, PlatformError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    folder = UNFINISHED if arguments.quick else RESULTS
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    path = written(folder, text + "\n")
    print(text)
    print(f"wrote {path.relative_to(ROOT)}")
    return 0


def written(folder: Path, text: str) -> Path:
    """Write the results and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sportsbook.json"
    path.write_text(text)
    return path
