"""The public doors as a table of bets uses them: HTTP for players and staff, and the feed's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from svc.mesh.clock import new_id
from svc.wallet import contract as wallet
from tests.sportsbook.match import now_ms
from tests.sportsbook.players import until
from tests.support.mesh import Operator

PASSWORD = "correct horse battery"
LOST, VOID = 'result="0"', 'result="0" void_factor="1"'
RACE = 1110
"""Winner: each way it is settled with Top {winners}."""
TOP = 1091


@dataclass(frozen=True)
class Leg:
    """A leg of a row: the odds, what the feed says of it, and of its place half if there is one."""

    odds: str
    told: str = 'result="1"'
    placed: str = ""


def won(*odds: str) -> list[Leg]:
    return [Leg(each) for each in odds]


def dead_heat(odds: str, factor: str) -> Leg:
    return Leg(odds, f'result="1" dead_heat_factor="{factor}"')


def problem(answer: httpx.Response) -> str:
    """Return the name of a refusal."""
    return answer.json()["type"].rsplit(":", 1)[1]


@dataclass
class Door:
    """A client of the gateway, with the token of the feed and of the staff."""

    client: httpx.AsyncClient
    feed_token: str
    staff: Mapping[str, str] = field(default_factory=dict[str, str])
    at_ms: int = 0
    said: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])

    async def post(self, path: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
        keys = {"idempotency-key": new_id(), **headers}
        return await self.client.post(path, json=body, headers=keys)

    async def log_in(self, email: str, password: str) -> dict[str, str]:
        answer = await self.client.post("/v1/sessions", json={"email": email, "password": password})
        assert answer.status_code == 201, answer.text
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def feed(self, name: str, event_id: str, inside: str, more: str = "") -> None:
        """Send a message of the feed, newer than all before."""
        self.at_ms = max(self.at_ms + 1, now_ms())
        head = f'product="1" event_id="{event_id}" timestamp="{self.at_ms}" {more}'
        self.said.append((name, head, inside))
        await self.repeat()

    async def repeat(self, more: str = "", number: int = -1) -> None:
        """Send the last message again, byte for byte, or as a recovery does; or another one."""
        name, head, inside = self.said[number]
        answer = await self.client.post(
            "/feeds/betradar",
            content=f"<{name} {head} {more}>{inside}</{name}>",
            headers={"x-access-token": self.feed_token, "content-type": "application/xml"},
        )
        assert answer.status_code == 202, answer.text

    async def repeat_all(self, event_id: str, more: str = "") -> None:
        """Send everything that was said of an event again, in its order."""
        for number, (_, head, _) in enumerate(tuple(self.said)):
            if f'event_id="{event_id}"' in head:
                await self.repeat(more, number)

    async def offer(self, leg: Leg, *, each_way: bool = False, attributes: str = "") -> str:
        """Put an event with this leg on sale, each way as a race of eight; return its id."""
        event_id = f"sr:match:{int(new_id().replace('-', ''), 16) % 10**15}"
        others = range(2, 9) if each_way else range(2, 3)
        rows = f'<outcome id="1" odds="{leg.odds}" {attributes}/>' + "".join(
            f'<outcome id="{number}" odds="9.0"/>' for number in others
        )
        market = RACE if each_way else 1
        markets = f'<market id="{market}" status="1">{rows}</market>'
        if each_way:
            markets += f'<market id="{TOP}" specifiers="winners=3" status="0">{rows}</market>'
        await self.feed("odds_change", event_id, f"<odds>{markets}</odds>")
        return event_id

    async def settle(self, event_id: str, leg: Leg, *, each_way: bool = False) -> None:
        market = RACE if each_way else 1
        markets = f'<market id="{market}"><outcome id="1" {leg.told}/></market>'
        if each_way:
            markets += (
                f'<market id="{TOP}" specifiers="winners=3"><outcome id="1" {leg.placed}/></market>'
            )
        inside = f"<outcomes>{markets}</outcomes>"
        await self.feed("bet_settlement", event_id, inside, 'certainty="2"')


@dataclass
class Account:
    """A player's account at the door."""

    door: Door
    user_id: str
    headers: dict[str, str]

    @classmethod
    async def opened(cls, door: Door) -> "Account":
        email = f"player-{new_id()}@betmesh-players.com"
        account = {
            "email": email,
            "phone": f"+4915{int(new_id().replace('-', ''), 16) % 10**9:09d}",
            "password": PASSWORD,
            "date_of_birth": "1990-05-17",
            "currency": "EUR",
        }
        answer = await door.client.post("/v1/users", json=account)
        assert answer.status_code == 201, answer.text
        return cls(door, answer.json()["user_id"], await door.log_in(email, PASSWORD))

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.door.client.get(path, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def cash(self) -> int:
        return (await self.get("/v1/wallet"))["cash"]

    async def bets(
        self, events: Sequence[tuple[str, Leg]], stake: int, **more: Any
    ) -> dict[str, Any]:
        """Strike a bet on these legs; `more` are further fields of the slip."""
        answer = await self.slip(events, stake, **more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def slip(
        self, events: Sequence[tuple[str, Leg]], stake: int, **more: Any
    ) -> httpx.Response:
        """Send a slip and return the answer."""
        market = RACE if more.get("each_way") else 1
        slip = {
            "kind": "single" if len(events) == 1 else "accumulator",
            "selections": [
                {"event_id": event_id, "market_id": market, "outcome_id": "1", "odds": leg.odds}
                for event_id, leg in events
            ],
            "stake": stake,
            "currency": "EUR",
            **more,
        }
        return await self.door.post("/v1/bets", slip, self.headers)

    async def holds(self, cash: int) -> None:
        """Wait until the wallet holds this."""

        async def there() -> bool:
            return await self.cash() == cash

        await until(there, f"{cash} in the wallet, not {await self.cash()}")

    async def is_given(self, operator: Operator, amount: int) -> None:
        """Let money come in, or go out when it is below zero."""
        transfer = wallet.Transfer(
            transfer_id=new_id(),
            user_id=self.user_id,
            amount=abs(amount),
            currency="EUR",
            kind="deposit" if amount > 0 else "withdrawal",
            reference="test",
        )
        call = wallet.CREDIT_BALANCE if amount > 0 else wallet.DEDUCT_BALANCE
        await operator.call(call, transfer)

    async def strikes(
        self, legs: Sequence[Leg], stake: int, **more: Any
    ) -> tuple[list[tuple[str, Leg]], dict[str, Any]]:
        """Put the legs on sale and strike a bet on them."""
        each_way = bool(more.get("each_way"))
        events = [(await self.door.offer(leg, each_way=each_way), leg) for leg in legs]
        return events, await self.bets(events, stake, **more)
