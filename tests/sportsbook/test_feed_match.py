"""A whole match at a thousand times its speed, with everything going wrong that can."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from svc.outside import uof as told
from svc.outside.match import Plan
from svc.outside.match_incidents import dramatic
from svc.sportsbook.contract import Bet, Selection
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.sportsbook.provider import PRODUCT, Provider, forget, provided
from tests.support.mesh import Operator
from tests.support.waiting import until

SPEED, SEED = 1_000, 5
BEFORE = [
    (1, "", "1"), (1, "", "2"), (1, "", "3"), (10, "", "9"), (10, "", "11"),
    (18, "total=2.5", "12"), (18, "total=3", "13"), (16, "hcp=-0.25", "1714"),
    (16, "hcp=-1", "1715"), (8, "goalnr=1", "6"), (8, "goalnr=1", "7"), (8, "goalnr=1", "8"),
]  # fmt: skip
AFTER_THE_GOAL_THAT_WAS_NONE = [(1, "", "1"), (1, "", "3"), (10, "", "9"), (10, "", "11"),
                                (8, "goalnr=2", "6"), (8, "goalnr=2", "8")]  # fmt: skip


@pytest.fixture
async def provider(match: Match, operator: Operator) -> AsyncGenerator[Provider]:
    assert match
    await forget(operator.platform)
    async with provided(operator) as found:
        await found.alive()
        yield found
    await forget(operator.platform)


class Watched:
    """A match that is played, and a player who bets on it whenever it pauses."""

    def __init__(self, operator: Operator, provider: Provider, *, shuffle: bool) -> None:
        self.match = Match(operator)
        self.player = Player(operator)
        self.provider = provider
        self.shuffle = shuffle
        self.bet_ids: list[str] = []

    async def watch(self) -> None:
        await self.player.with_money(100_000)
        plan = {"event_id": self.match.event_id, "speed": SPEED, "seed": SEED, "product": PRODUCT,
                "incidents": True, "shuffle": self.shuffle,
                "pause_before": ["kick_off", "correction", "settlement"]}  # fmt: skip
        answer = await self.provider.client.post("/simulate/match", json=plan)
        assert answer.is_success, answer.text
        await self.bet_on_next_pause(BEFORE)
        await self.bet_on_next_pause(AFTER_THE_GOAL_THAT_WAS_NONE)
        await self.bet_on_next_pause([])
        await until(lambda: self.state("finished"), "the match is played to its end", within_s=60)

    async def state(self, wanted: str) -> bool:
        answer = await self.provider.client.get(f"/simulate/match/{self.match.event_id}")
        return answer.json()["state"] == wanted

    async def bet_on_next_pause(self, lines: Sequence[tuple[int, str, str]]) -> None:
        await until(lambda: self.state("paused"), "the match pauses", within_s=60)
        for market, specifiers, outcome in lines:
            leg = Selection(event_id=self.match.event_id, market_id=market,
                            specifiers=specifiers, outcome_id=outcome, odds="1.5")  # fmt: skip
            self.bet_ids.append((await self.player.bets(leg, policy="any")).bet_id)
        await self.provider.client.post(f"/simulate/match/{self.match.event_id}/continue")

    async def is_decided(self, bet_id: str) -> bool:
        return (await self.player.bet(bet_id)).status in {"settled", "cancelled"}

    async def bets(self) -> list[Bet]:
        """Return the bets, once all of them are decided and what they pay is paid."""
        for bet_id in self.bet_ids:
            await until(lambda bet_id=bet_id: self.is_decided(bet_id), f"{bet_id} is decided")
        found = [await self.player.bet(bet_id) for bet_id in self.bet_ids]
        paid = sum(bet.payout or 0 for bet in found) - sum(bet.stake for bet in found)
        await self.player.gets_to(100_000 + paid)
        return found


async def test_a_match_in_any_order_and_twice_ends_with_the_same_money_as_in_order(
    provider: Provider, operator: Operator
) -> None:
    plain = Watched(operator, provider, shuffle=False)
    mixed = Watched(operator, provider, shuffle=True)
    await asyncio.gather(plain.watch(), mixed.watch())
    expected, found = await plain.bets(), await mixed.bets()
    assert [told_of(bet) for bet in found] == [told_of(bet) for bet in expected]
    assert await mixed.player.cash() == await plain.player.cash()
    # What was struck at the wrong score is void, but for the double chance, which stands after all.
    struck = dict(zip(AFTER_THE_GOAL_THAT_WAS_NONE, expected[len(BEFORE) :], strict=True))
    assert {struck[1, "", each].status for each in ("1", "3")} == {"cancelled"}
    assert {struck[10, "", each].status for each in ("9", "11")} == {"settled"}
    # The goal that counts as the first one fell while nothing got through.
    scorers = {bet.legs[0].outcome_id: bet.result for bet in expected[9:12]}
    assert scorers == first_scorer()
    assert {bet.result for bet in expected} >= {"won", "lost", "void"}
    shown = [await each.match.shown() for each in (plain, mixed)]
    assert shown[0].score == shown[1].score
    assert [each.status for each in shown] == ["closed", "closed"]
    assert {market.status for each in shown for market in each.markets} == {"settled"}


def told_of(bet: Bet) -> tuple[object, ...]:
    return bet.status, bet.result, bet.odds, bet.payout, bet.legs[0].result


def first_scorer() -> dict[str, str]:
    """Return how the outcomes of the first goal end, from the script's last word on them."""
    last: dict[str, str] = {}
    for step in dramatic(Plan(seed=SEED)):
        if isinstance(step.message, told.BetSettlement | told.RollbackBetSettlement):
            for market in step.message.markets:
                if (market.id, market.specifiers) == (8, "goalnr=1"):
                    last = {each.id: "won" if each.result else "lost" for each in market.outcomes}
    return last


def test_the_same_seed_gives_the_same_drama() -> None:
    def messages(seed: int) -> list[bytes]:
        return [told.to_xml(told.element(step.message)) for step in dramatic(Plan(seed=seed))]

    assert messages(1) == messages(1)
    assert messages(1) != messages(2)
    kinds = {type(step.message).__name__ for step in dramatic(Plan(seed=SEED))}
    assert kinds >= {"RollbackBetSettlement", "BetCancel", "RollbackBetCancel", "BetStop"}
    assert [step.outage for step in dramatic(Plan()) if step.outage] == ["begins", "ends"]
