"""The odds provider and one who watches, a process of their own: how late is what the watcher sees.

It takes one order on standard input and answers on standard output. Messages are sent when they are
due, whatever came of those before: what waits counts from when it was due. Each message gives all
its outcomes the same odds, by which the watcher of the board knows which message a frame shows.
"""

import asyncio
import sys
import time
from collections import deque

import msgspec
import uvloop
from websockets.asyncio.client import ClientConnection, connect

from tests.bench.measures import quantile

HEAD = (
    "POST /feeds/betradar HTTP/1.1\r\nhost: {host}\r\nx-access-token: {token}\r\n"
    "content-type: application/xml\r\ncontent-length: {length}\r\n\r\n"
)
ACCEPTED = b"202"
LATE_S_MAX = 10.0
"""What is not seen so long after the last message was due is never seen."""


class OddsOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Send so many messages a second about these events in turn, each with so many markets."""

    host: str
    port: int
    token: str
    event_ids: list[str]
    markets: int
    outcomes: int
    per_s: float
    seconds: float
    warm_s: float


class OddsSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the messages that were due in the window, from due to the watcher's frame.

    `sent` counts the warm-up too; `superseded` were shown only as newer odds of the same event.
    """

    due: int
    seen: int
    superseded: int
    sent: int
    others: dict[str, int]
    p50_ms: float
    p99_ms: float
    cpu_s: float


class Outcome(msgspec.Struct):
    """As much of an outcome as tells which message it came with."""

    odds: str | None = None


class Market(msgspec.Struct):
    """As much of a market as that takes."""

    outcomes: list[Outcome]


class Frame(msgspec.Struct):
    """As much of a frame as that takes; the first frame of the board is a list, without these."""

    event_id: str = ""
    markets: list[Market] = []


def odds_of(number: int) -> str:
    """Return the odds of an event's message of this number; numbers begin with 1."""
    return f"{2 + number // 100}.{number % 100:02d}"


def number_of(odds: str) -> int:
    """Return which message of an event has these odds."""
    return int(odds.replace(".", "")) - 200


class Load:
    """One order being carried out."""

    def __init__(self, order: OddsOrder) -> None:
        """Nothing was sent yet."""
        self.order = order
        self.begin = 0.0
        self.waiting: dict[str, deque[tuple[int, float]]] = {
            one: deque() for one in order.event_ids
        }
        self.late_s: list[float] = []
        self.superseded = 0
        self.due = 0
        self.sent = 0
        self.others: dict[str, int] = {}

    async def run(self) -> OddsSeen:
        """Send what is due while somebody watches, then wait until all of it was seen."""
        order = self.order
        async with connect(f"ws://{order.host}:{order.port}/ws/odds", max_size=None) as socket:
            await socket.recv()
            watching = asyncio.create_task(self.watch(socket))
            self.begin = time.perf_counter()
            await asyncio.gather(*(self.provider(place) for place in range(len(order.event_ids))))
            try:
                async with asyncio.timeout(LATE_S_MAX):
                    while any(self.waiting.values()):  # noqa: ASYNC110  # the watcher's are many
                        await asyncio.sleep(0.01)
            except TimeoutError:
                pass
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        late = sorted(self.late_s)
        return OddsSeen(
            due=self.due,
            seen=len(late),
            superseded=self.superseded,
            sent=self.sent,
            others=self.others,
            p50_ms=quantile(late, 0.5) * 1000,
            p99_ms=quantile(late, 0.99) * 1000,
            cpu_s=time.process_time(),
        )

    async def provider(self, place: int) -> None:
        """Send the messages about one event, over a connection of its own."""
        order, event_id = self.order, self.order.event_ids[place]
        reader, writer = await asyncio.open_connection(order.host, order.port)
        number, step = 0, len(order.event_ids) / order.per_s
        while (due := self.begin + place / order.per_s + number * step) < self.end:
            number += 1
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.sent += 1
            self.due += due >= self.begin + order.warm_s
            self.waiting[event_id].append((number, due))
            body = self.message(event_id, number)
            head = HEAD.format(host=order.host, token=order.token, length=len(body))
            writer.write(head.encode() + body)
            status = await answered(reader)
            if status != ACCEPTED:
                name = status.decode()
                self.others[name] = self.others.get(name, 0) + 1
        writer.close()

    @property
    def end(self) -> float:
        """Return from when on nothing is due."""
        return self.begin + self.order.warm_s + self.order.seconds

    def message(self, event_id: str, number: int) -> bytes:
        """Return an odds_change of all markets of an event."""
        order, odds = self.order, odds_of(number)
        outcomes = "".join(
            f'<outcome id="{one}" odds="{odds}" active="1"/>'
            for one in range(1, order.outcomes + 1)
        )
        markets = "".join(
            f'<market id="18" specifiers="total={one}.5" status="1">{outcomes}</market>'
            for one in range(order.markets)
        )
        head = f'product="1" event_id="{event_id}" timestamp="{time.time_ns() // 1_000_000}"'
        return f"<odds_change {head}><odds>{markets}</odds></odds_change>".encode()

    async def watch(self, socket: ClientConnection) -> None:
        """Note when which message is seen: a frame shows all that came before it."""
        decode = msgspec.json.Decoder(Frame).decode
        while True:
            frame = decode(await socket.recv())
            now = time.perf_counter()
            waiting = self.waiting.get(frame.event_id)
            if not waiting or not frame.markets:
                continue
            odds = frame.markets[0].outcomes[0].odds
            shown = 0 if odds is None else number_of(odds)
            while waiting and waiting[0][0] <= shown:
                number, due = waiting.popleft()
                if due < self.begin + self.order.warm_s:
                    continue
                self.late_s.append(now - due)
                self.superseded += number < shown


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Read one answer whole; return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    if length:
        await reader.readexactly(length)
    return head[9:12]


def main() -> None:
    """Carry out the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=OddsOrder)
    seen = uvloop.run(Load(order).run())
    sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")


if __name__ == "__main__":
    main()
