"""A player who goes on betting, playing and depositing whatever dies, and keeps his own account.

Every request has a key of its own and is asked again with the same key until it is answered, as a
client with a bad connection would. What was acknowledged is kept here, outside every database.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from svc.demo.client import until
from svc.demo.flows import World
from svc.mesh.clock import new_id

STAKE = 200
ROUND_STAKE = 100
DEPOSIT = 3_000
ANSWER_WITHIN_S = 40.0
AGAIN = {500, 502, 503, 504}
IN_FLIGHT = "urn:betmesh:problem:conflict"


@dataclass
class Load:
    """What a player did and was told."""

    world: World
    selection: dict[str, Any]
    bets: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    rounds: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    deposits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    session_id: str = ""

    @property
    def acknowledged(self) -> int:
        """Return how many requests were answered with success."""
        return len(self.bets) + len(self.rounds) + len(self.deposits)

    async def open_session(self) -> None:
        """Begin to play dice."""
        answer = await self.insist("/v1/casino/sessions", {"game_id": "dice"})
        self.session_id = answer["session_id"]

    async def run(self, times: int) -> None:
        """Bet, play and deposit side by side, each so many times."""
        await asyncio.gather(
            self._repeat(times, self._bet),
            self._repeat(times, self._round),
            self._repeat(max(times // 3, 1), self._deposit),
        )

    async def _repeat(self, times: int, action: Callable[[], Any]) -> None:
        for _ in range(times):
            await action()

    async def _bet(self) -> None:
        body = {
            "kind": "single",
            "selections": [self.selection],
            "stake": STAKE,
            "currency": "EUR",
            "odds_policy": "any",
        }
        self.bets.append(await self.insist("/v1/bets", body))

    async def _round(self) -> None:
        path = f"/v1/casino/sessions/{self.session_id}/rounds"
        body = {"stake": ROUND_STAKE, "currency": "EUR", "choice": {"target": 50, "over": True}}
        self.rounds.append(await self.insist(path, body))

    async def _deposit(self) -> None:
        body = {"amount": DEPOSIT, "currency": "EUR", "method": "card_ok"}
        self.deposits.append(await self.insist("/v1/deposits", body))

    async def insist(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask with one key until there is an answer, and return it."""
        key = new_id()
        answered: list[dict[str, Any]] = []

        async def ask() -> bool:
            try:
                answer = await self.world.player.http.post(
                    path,
                    json=body,
                    headers={
                        "Authorization": f"Bearer {self.world.player.token}",
                        "Idempotency-Key": key,
                    },
                )
            except httpx.TransportError:
                return False
            if answer.status_code in AGAIN:
                return False
            document = answer.json()
            if document.get("type") == IN_FLIGHT:
                return False
            assert answer.is_success, f"{path} answered {answer.status_code}: {answer.text}"
            answered.append(document)
            return True

        await until(f"an answer of {path}", ask, within_s=ANSWER_WITHIN_S)
        return answered[0]

    def moved(self) -> int:
        """Return what the acknowledged requests moved for the player, in minor units."""
        paid = sum(played["payout"] for played in self.rounds)
        return (
            DEPOSIT * len(self.deposits)
            - STAKE * len(self.bets)
            - ROUND_STAKE * len(self.rounds)
            + paid
        )


async def open_match(world: World, event_id: str) -> dict[str, Any]:
    """Let the feed offer a match that has not begun, and return an outcome to bet on."""
    await world.simulator(
        "BETRADAR",
        "POST",
        "/simulate/match",
        {"event_id": event_id, "speed": 100, "seed": 3, "pause_before": ["kick_off"]},
    )

    async def offered() -> dict[str, Any] | None:
        answer = await world.player.http.get(f"/v1/events/{event_id}")
        if not answer.is_success:
            return None
        for market in answer.json()["markets"]:
            active = [outcome for outcome in market["outcomes"] if outcome["active"]]
            if market["market_id"] == 1 and market["status"] == "active" and active:
                return {
                    "event_id": event_id,
                    "market_id": 1,
                    "specifiers": market["specifiers"],
                    "outcome_id": active[0]["outcome_id"],
                    "odds": active[0]["odds"],
                }
        return None

    return await until("odds of the match", offered)
