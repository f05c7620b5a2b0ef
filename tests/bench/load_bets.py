"""The bettors, a process of their own: so many clients, each with one bet on its way over HTTP.

It takes one order on standard input and answers on standard output. The HTTP is written by hand: a
client library would take more of the two cores than the gateway does.
"""

import asyncio
import random
import sys
import time

import msgspec
import uvloop

from svc.mesh.clock import new_id
from tests.bench.measures import quantile

HEAD = (
    "POST /v1/bets HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n"
    "content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {length}\r\n\r\n"
)
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
        await asyncio.gather(*(self.client(number) for number in range(self.order.clients)))
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

    async def client(self, number: int) -> None:
        """Bet again and again over one connection."""
        order = self.order
        reader, writer = await asyncio.open_connection(order.host, order.port)
        chosen = random.Random(number)
        token = order.tokens[number % len(order.tokens)]
        while time.perf_counter() < self.end:
            body = self.body(chosen.choice(order.event_ids))
            head = HEAD.format(host=order.host, token=token, key=new_id(), length=len(body))
            self.asked += 1
            began = time.perf_counter()
            writer.write(head.encode() + body)
            status = await answered(reader)
            ended = time.perf_counter()
            if not self.begin <= ended <= self.end:
                continue
            if status == CREATED:
                self.took_s.append(ended - began)
            else:
                name = status.decode()
                self.others[name] = self.others.get(name, 0) + 1
        writer.close()

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
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=BetOrder)
    taken = uvloop.run(Load(order).run())
    sys.stdout.buffer.write(msgspec.json.encode(taken) + b"\n")


if __name__ == "__main__":
    main()
