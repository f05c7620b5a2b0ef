"""The bettors, a process of their own: so many clients, each with one bet on its way over HTTP.

It takes one order on standard input and answers on standard output. The HTTP is written by hand: a
client library would take more of the two cores than the gateway does.
"""

import asyncio
import random
import sys
import time
from typing import cast

import msgspec
import uvloop

from svc.mesh.clock import new_id
from tests.bench.measures import quantile

HEAD = (
    "POST /v1/bets HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n"
    "content-type: application/json\r\nidempotency-key: "
)
END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length: "
CREATED = b"201"


class BetOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Bet as these players on these selections for so long; the stake in minor units."""

    host: str
    port: int
    tokens: list[str]
    event_ids: list[str]
    odds: str
    clients: int
    seconds: float
    warm_s: float
    stake: int = 100


class BetsTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered within the window: bets accepted, and all other answers by status.

    `asked` counts the warm-up and what was under way at the end too.
    """

    accepted: int
    asked: int
    others: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float


class Load:
    """One order being carried out."""

    def __init__(self, order: BetOrder) -> None:
        """Nothing was answered yet."""
        self.order = order
        self.begin = time.perf_counter() + order.warm_s
        self.end = self.begin + order.seconds
        self.took_s: list[float] = []
        self.others: dict[str, int] = {}
        self.asked = 0

    async def run(self) -> BetsTaken:
        """Let all clients bet until the time is up."""
        loop, order = asyncio.get_running_loop(), self.order
        rests = [self.rest(event_id) for event_id in order.event_ids]
        clients = [
            Client(self, number, rests, loop.create_future()) for number in range(order.clients)
        ]
        for client in clients:
            await loop.create_connection(lambda client=client: client, order.host, order.port)
        await asyncio.gather(*(client.ended for client in clients))
        took = sorted(self.took_s)
        return BetsTaken(
            accepted=len(took),
            asked=self.asked,
            others=self.others,
            seconds=self.order.seconds,
            p50_ms=quantile(took, 0.5) * 1000,
            p99_ms=quantile(took, 0.99) * 1000,
            cpu_s=time.process_time(),
        )

    def answered(self, status: bytes, began: float, ended: float) -> None:
        """Count an answer of the window."""
        if not self.begin <= ended <= self.end:
            return
        if status == CREATED:
            self.took_s.append(ended - began)
        else:
            name = status.decode()
            self.others[name] = self.others.get(name, 0) + 1

    def rest(self, event_id: str) -> bytes:
        """Return what follows the key of a request: a slip of a single on the first outcome."""
        body = self.body(event_id)
        return f"\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    def body(self, event_id: str) -> bytes:
        """Return a slip: a single on the first outcome."""
        selection = {
            "event_id": event_id, "market_id": 1, "outcome_id": "1", "odds": self.order.odds,
        }  # fmt: skip
        slip = {
            "kind": "single", "selections": [selection], "stake": self.order.stake,
            "currency": "EUR", "odds_policy": "none",
        }  # fmt: skip
        return msgspec.json.encode(slip)


class Client(asyncio.Protocol):
    """One client: bets again and again over one connection, each time after the last answer."""

    def __init__(
        self, load: Load, number: int, rests: list[bytes], ended: "asyncio.Future[None]"
    ) -> None:
        """Prepare; the connection begins to bet."""
        order = load.order
        token = order.tokens[number % len(order.tokens)]
        self.load = load
        self.head = HEAD.format(host=order.host, token=token).encode()
        self.rests = rests
        self.ended = ended
        self.choice = random.Random(number).choice
        self.transport: asyncio.Transport | None = None
        self.read = b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first bet."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.ask()

    def ask(self) -> None:
        """Send the next bet, or leave when the time is up."""
        assert self.transport is not None
        self.began = time.perf_counter()
        if self.began >= self.load.end:
            self.transport.close()
            return
        self.load.asked += 1
        self.transport.write(self.head + new_id().encode() + self.choice(self.rests))

    def data_received(self, data: bytes) -> None:
        """Read on; a whole answer is counted."""
        read = self.read = self.read + data if self.read else data
        end = read.find(END_OF_HEAD)
        if end < 0:
            return
        at = read.find(LENGTH, 0, end) + len(LENGTH)
        if len(read) < end + len(END_OF_HEAD) + int(read[at : read.find(b"\r", at)]):
            return
        self.read = b""
        self.load.answered(read[9:12], self.began, time.perf_counter())
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; a connection that broke is an answer that did not come."""
        if exc is not None:
            self.load.others["broken"] = self.load.others.get("broken", 0) + 1
        if not self.ended.done():
            self.ended.set_result(None)


async def answered(reader: asyncio.StreamReader) -> bytes:
    """Read one answer whole; return its status."""
    head = await reader.readuntil(END_OF_HEAD)
    at = head.find(LENGTH)
    if at >= 0 and (length := int(head[at + len(LENGTH) : head.find(b"\r", at)])):
        await reader.readexactly(length)
    return head[9:12]


def main() -> None:
    """Carry out the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=BetOrder)
    taken = uvloop.run(Load(order).run())
    sys.stdout.buffer.write(msgspec.json.encode(taken) + b"\n")


if __name__ == "__main__":
    main()
