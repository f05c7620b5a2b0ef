"""Events end to end: how many a second, how soon, and whether a lane holds up the other."""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tests.bench import events
from tests.bench.measures import quantile
from tests.bench.peers.events_server import Done, Hear, Tell
from tests.bench.stage import READY_S_MAX, TEMPLATE, BenchError, Child, Stage

PER_SECOND = 1_000
WRITTEN_TOGETHER = 10
FILLED_TOGETHER = 500
"""Events of a transaction that only fills the outbox."""
WITHIN_S = 60.0
EFFECT = """
    CREATE TABLE effect (
        lane text NOT NULL,
        number bigint NOT NULL,
        user_id uuid NOT NULL,
        amount bigint NOT NULL,
        PRIMARY KEY (lane, number)
    );
    ALTER TABLE effect OWNER TO wallet
"""
Say = Callable[[str], None]


class Sides:
    """The teller and the hearer, running."""

    def __init__(self, stage: Stage, teller: Child, hearer: Child | None = None) -> None:
        """Give orders to these processes."""
        self.teller = teller
        self.hearer = hearer
        self.files = stage.installation.run_dir

    async def tell(self, order: Tell) -> tuple[Done, dict[int, float]]:
        """Let events be written; return the commit times by number."""
        path = self.files / "told.bin"
        done = await _ordered(self.teller, msgspec.structs.replace(order, path=str(path)))
        if done.failure:
            raise BenchError(f"events could not be written: {done.failure}")
        return done, _times(path)

    async def hear(self, lane: str, count: int, within_s: float = WITHIN_S) -> dict[int, float]:
        """Return when the effects of so many events were committed, by number."""
        assert self.hearer is not None
        path = self.files / "heard.bin"
        order = Hear(lane=lane, count=count, within_s=within_s, path=str(path))
        await _ordered(self.hearer, order)
        return _times(path)


async def _ordered(child: Child, order: msgspec.Struct) -> Done:
    assert child.process.stdin is not None
    child.process.stdin.write(msgspec.json.encode(order) + b"\n")
    await child.process.stdin.drain()
    return msgspec.json.decode(await child.line(WITHIN_S + READY_S_MAX), type=Done)


def _times(path: Path) -> dict[int, float]:
    pairs = array("d")
    pairs.frombytes(path.read_bytes())
    return {int(pairs[i]): pairs[i + 1] for i in range(0, len(pairs), 2)}


@asynccontextmanager
async def prepared(stage: Stage) -> AsyncGenerator[dict[str, str]]:
    """Make both databases; gives the environment in which both processes run."""
    names = {events.TELLING: "bench_teller", events.HEARING: "bench_hearer"}
    for database in names.values():
        await stage.create(database, TEMPLATE)
    async with stage.database(names[events.HEARING]) as connection:
        await connection.execute(EFFECT)
    try:
        yield {f"{name.upper()}_DATABASE_URL": stage.url(db) for name, db in names.items()}
    finally:
        for database in names.values():
            await stage.drop(database)


@asynccontextmanager
async def side(stage: Stage, which: str, environment: dict[str, str]) -> AsyncGenerator[Child]:
    """Run the teller or the hearer."""
    command = ("-m", "tests.bench.peers.events_server", which)
    async with stage.process(which, command, environment) as child:
        await child.line(READY_S_MAX)
        yield child


async def throughput(sides: Sides, count: int, say: Say) -> dict[str, float]:
    """Measure how fast a full outbox takes effect, and events that are being written."""
    done, told = await sides.tell(Tell(lane="high", count=count, each=FILLED_TOGETHER, held=True))
    seen = await sides.hear("high", len(told))
    drained = _rate(seen, done.began)
    say(f"events: {len(seen):,} of a full outbox, {drained:,.0f} a second")
    done, told = await sides.tell(Tell(lane="high", count=count, each=WRITTEN_TOGETHER))
    seen = await sides.hear("high", len(told))
    written = _rate(seen, done.began)
    say(f"events: {len(seen):,} as they are written, {written:,.0f} a second")
    return {"events_per_s": drained, "events_written_per_s": written}


def _rate(seen: dict[int, float], began: float) -> float:
    return len(seen) / (max(seen.values()) - began) if seen else 0.0


async def delays(sides: Sides, seconds: float, per_second: float = PER_SECOND) -> list[float]:
    """Return the times from commit to committed effect at a rate, in milliseconds, ascending."""
    count = int(seconds * per_second)
    _, told = await sides.tell(Tell(lane="high", count=count, per_second=per_second))
    seen = await sides.hear("high", len(told))
    return sorted((at - told[number]) * 1000 for number, at in seen.items() if number in told)


async def latency(sides: Sides, seconds: float, say: Say) -> dict[str, float]:
    """Measure from commit to effect at a steady rate."""
    taken = await delays(sides, seconds)
    found = {"event_p50_ms": quantile(taken, 0.5), "event_p99_ms": quantile(taken, 0.99)}
    say(
        f"events: {len(taken):,} at {PER_SECOND:,} a second, p50 {found['event_p50_ms']:.1f} ms, "
        f"p99 {found['event_p99_ms']:.1f} ms from commit to effect"
    )
    return found


LANES_PER_SECOND = 100
"""High-priority events a second while the low ones wait."""


async def lanes(
    stage: Stage, environment: dict[str, str], low: int, seconds: float, say: Say
) -> dict[str, float]:
    """Measure a high-priority event idle, and with so many low ones waiting before it."""
    async with side(stage, "teller", environment) as teller:
        async with side(stage, "hearer", environment) as hearer:
            sides = Sides(stage, teller, hearer)
            await delays(sides, 1.0, LANES_PER_SECOND)
            idle = await delays(sides, seconds, LANES_PER_SECOND)
        # Nobody hears while the low ones gather.
        await Sides(stage, teller).tell(
            Tell(lane="low", count=low, each=FILLED_TOGETHER, held=True)
        )
        await _left(stage)
        async with side(stage, "hearer", environment) as hearer:
            sides = Sides(stage, teller, hearer)
            busy = await delays(sides, seconds, LANES_PER_SECOND)
            done = await sides.hear("low", low, 0.0)
    worked = len(done) / (max(done.values()) - min(done.values())) if len(done) > 1 else 0.0
    found = {
        f"lane_high_{name}": quantile(busy, share) / quantile(idle, share)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    say(
        f"lanes: high p50 {quantile(idle, 0.5):.1f} ms idle, {quantile(busy, 0.5):.1f} ms with "
        f"{low:,} low waiting (p99 {quantile(idle, 0.99):.1f} and {quantile(busy, 0.99):.1f}); "
        f"{len(done):,} low done meanwhile, {worked:,.0f} a second"
    )
    return {**found, "lane_low_per_s": worked}


async def _left(stage: Stage) -> None:
    """Wait until the stream holds what the outbox held."""
    async with asyncio.timeout(WITHIN_S), stage.database("bench_teller") as connection:
        left = "SELECT EXISTS (SELECT FROM mesh_outbox)"
        while await connection.fetchval(left):  # noqa: ASYNC110  # another process tells no event
            await asyncio.sleep(0.1)
