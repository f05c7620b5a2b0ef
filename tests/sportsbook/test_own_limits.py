"""Limits, verification and disputes of a player: they hold for bets and casino rounds alike."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from svc.casino import contract as casino
from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import Unavailable
from svc.payment import contract as payment
from svc.sportsbook.contract import (
    GRANT_FREE_BET,
    LIST_BETS,
    PLACE_BET,
    AccountBlocked,
    BetAccepted,
    BetsOf,
    LimitExceeded,
    NotVerified,
)
from svc.sportsbook.contract_offers import GrantFreeBet
from tests.identity.people import registered
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player, sweep, taken
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

HERE = {"sportsbook": "player_limit", "casino": "player_limits"}


@pytest.fixture
async def player(match: Match, operator: Operator, services: Services) -> Player:
    """A player whom identity knows, with 100.00 EUR, for bets and rounds."""
    await services("identity", "casino")
    await match.odds()
    player = Player(operator)
    player.user_id, _ = await registered(operator)
    return await player.with_money(10_000)


async def limited(
    player: Player, platform: Platform, kind: identity.LimitKind, amount: int
) -> None:
    """Set a limit for a day, and wait until both products know it."""
    wanted = identity.SetLimits(user_id=player.user_id, kind=kind, period="day", amount=amount)
    await player.operator.call(identity.SET_LIMITS, wanted)
    for service, table in HERE.items():
        async with platform.database(service) as database:
            query = f"SELECT true FROM {table} WHERE user_id = $1"  # noqa: S608 -- constants

            async def known() -> bool:
                return bool(await database.fetchval(query, player.user_id))  # noqa: B023 -- awaited in the same turn

            await until(known, f"{service} knows the limit")


async def session_of(player: Player) -> str:
    wanted = casino.OpenSession(user_id=player.user_id, game_id="dice")
    return (await player.operator.call(casino.OPEN_SESSION, wanted)).session_id


async def plays(player: Player, session_id: str, stake: int) -> casino.RoundPlayed:
    wanted = casino.PlayRound(
        user_id=player.user_id,
        session_id=session_id,
        idempotency_key=new_id(),
        stake=stake,
        currency="EUR",
        choice={"target": 50, "over": True},
    )
    return await player.operator.call(casino.PLAY_ROUND, wanted)


async def comes_true(what: Callable[[], Awaitable[object]], refused: type[Exception]) -> None:
    """Wait until something is refused."""

    async def is_refused() -> bool:
        try:
            await what()
        except refused:
            return True
        return False

    await until(is_refused, f"{refused.__name__} is raised")


async def test_one_stake_limit_holds_over_bets_and_rounds_that_come_at_the_same_time(
    match: Match, player: Player, platform: Platform
) -> None:
    await limited(player, platform, "stake", 1_000)
    sessions = [await session_of(player) for _ in range(8)]
    outcomes = await asyncio.gather(
        *(player.bets(match.leg(), stake=100) for _ in range(8)),
        *(plays(player, session, 100) for session in sessions),
        return_exceptions=True,
    )
    taken = [each for each in outcomes if isinstance(each, BetAccepted | casino.RoundPlayed)]
    refused = [each for each in outcomes if isinstance(each, LimitExceeded | casino.LimitExceeded)]
    assert (len(taken), len(refused)) == (10, 6)
    with pytest.raises(LimitExceeded) as refusal:
        await player.bets(match.leg(), stake=10)
    assert refusal.value.members == {"kind": "stake", "limit": 1000, "left": 0, "period": "day"}


@pytest.mark.parametrize("kind", ["stake", "loss"])
async def test_a_free_bet_uses_up_nothing_of_a_limit(
    match: Match,
    player: Player,
    operator: Operator,
    platform: Platform,
    kind: identity.LimitKind,
) -> None:
    wanted = GrantFreeBet(user_id=player.user_id, amount=900, currency="EUR")
    free = await operator.call(GRANT_FREE_BET, wanted)
    await limited(player, platform, kind, 1_000)
    slip = player.slip(match.leg(), stake=900)
    used = msgspec.structs.replace(slip, free_bet_id=free.free_bet_id)
    assert (await operator.call(PLACE_BET, used)).status == "accepted"
    assert (await player.bets(match.leg(), stake=1_000)).status == "accepted"
    with pytest.raises(LimitExceeded):
        await player.bets(match.leg(), stake=10)


async def test_a_loss_limit_counts_what_was_lost_before_it_and_what_came_back(
    match: Match, player: Player, platform: Platform
) -> None:
    placed = await player.bets(match.leg(), stake=600)
    await limited(player, platform, "loss", 1_000)
    session = await session_of(player)

    async def counted() -> bool:
        async with platform.database("identity") as database:
            query = "SELECT staked FROM plays WHERE stake_id = $1"
            return await database.fetchval(query, placed.bet_id) == 600

    await until(counted, "the bet before the limit is counted")
    with pytest.raises(casino.LimitExceeded) as refusal:
        await plays(player, session, 500)
    assert refusal.value.members["left"] == 400
    await match.settle({"1": 'result="1"'})

    async def wider() -> bool:
        try:
            await plays(player, session, 500)
        except casino.LimitExceeded:
            return False
        return True

    await until(wider, "the payout has made room")


async def test_a_bet_above_a_limit_is_rejected_and_its_stake_goes_back_if_somebody_had_it_taken(
    match: Match, player: Player, operator: Operator, platform: Platform, services: Services
) -> None:
    await limited(player, platform, "stake", 5_000)
    slip = player.slip(match.leg())
    await services.stop("identity")
    with pytest.raises(Unavailable):
        await operator.call(PLACE_BET, slip)
    [bet] = (await operator.call(LIST_BETS, BetsOf(user_id=player.user_id))).items
    await taken(operator, platform, bet.bet_id)
    assert await player.cash() == 9000
    await services("identity")
    lower = identity.SetLimits(user_id=player.user_id, kind="stake", period="day", amount=500)
    await operator.call(identity.SET_LIMITS, lower)
    for _ in range(2):
        with pytest.raises(LimitExceeded):
            await operator.call(PLACE_BET, slip)
    await player.gets_to(10_000)


async def test_a_bet_that_waits_for_identity_keeps_none_waiting_that_identity_is_not_asked_about(
    match: Match, player: Player, operator: Operator, platform: Platform, services: Services
) -> None:
    await limited(player, platform, "stake", 5_000)
    other = await Player(operator).with_money(10_000)
    waiting: list[tuple[Player, str]] = []
    for each, away in ((player, "identity"), (other, "wallet")):
        await services.stop(away)
        with pytest.raises(Unavailable):
            await operator.call(PLACE_BET, each.slip(match.leg()))
        [bet] = (await operator.call(LIST_BETS, BetsOf(user_id=each.user_id))).items
        assert bet.status == "pending"
        waiting.append((each, bet.bet_id))
    for (each, bet_id), back in zip(reversed(waiting), ("wallet", "identity"), strict=True):
        await services(back)

        async def accepted(each: Player = each, bet_id: str = bet_id) -> bool:
            await sweep(operator)
            return (await each.bet(bet_id)).status == "accepted"

        await until(accepted, f"the bet is accepted with {back}")


async def test_an_open_dispute_stops_bets_and_rounds_and_a_closed_one_does_not(
    match: Match, player: Player, operator: Operator
) -> None:
    session = await session_of(player)
    disputed = payment.PaymentDisputed(
        dispute_id=new_id(),
        payment_id=new_id(),
        user_id=player.user_id,
        amount=1,
        currency="EUR",
        reason="fraudulent",
    )
    await operator.publish(payment.PAYMENT_DISPUTED, disputed, subject=disputed.payment_id)
    await comes_true(lambda: player.bets(match.leg(), stake=10), AccountBlocked)
    await comes_true(lambda: plays(player, session, 10), casino.AccountBlocked)
    with pytest.raises(casino.AccountBlocked):
        await session_of(player)
    closed = payment.DisputeClosed(
        dispute_id=disputed.dispute_id,
        payment_id=disputed.payment_id,
        user_id=player.user_id,
        won=True,
        returned=1,
        currency="EUR",
    )
    # Told again afterwards, the dispute stays closed.
    for event, data in ((payment.DISPUTE_CLOSED, closed), (payment.PAYMENT_DISPUTED, disputed)):
        await operator.publish(event, data, subject=disputed.payment_id)

    async def open_again() -> bool:
        try:
            await player.bets(match.leg(), stake=10)
            await plays(player, session, 10)
        except (AccountBlocked, casino.AccountBlocked):
            return False
        return True

    await until(open_again, "bets and rounds are taken again")


async def test_who_failed_the_verification_neither_bets_nor_plays(
    match: Match, player: Player, operator: Operator
) -> None:
    session = await session_of(player)
    failed = identity.SetKyc(user_id=player.user_id, status="rejected")
    await operator.call(identity.SET_KYC, failed)
    await comes_true(lambda: player.bets(match.leg(), stake=10), NotVerified)
    await comes_true(lambda: plays(player, session, 10), casino.NotVerified)
