"""Bets through the service: struck on real odds, paid from the real wallet."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from svc.identity import contract as identity
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import IdempotencyMismatch, Invalid, NotFound
from svc.payment import contract as payment
from svc.sportsbook.contract import (
    BET_PLACED,
    BET_REJECTED,
    LIABILITIES,
    LIST_BETS,
    PLACE_BET,
    BetRefused,
    BetsOf,
    CurrencyMismatch,
    Liabilities,
    LimitExceeded,
    MarketClosed,
    OddsChanged,
    OddsPolicy,
    SelfExcluded,
)
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until


async def test_a_single_is_accepted_at_the_current_price_and_the_stake_is_taken(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    placed = await player.bets(match.leg("2.50"))
    assert (placed.status, placed.odds, placed.potential_payout) == ("accepted", "2.50", 2500)
    assert await player.cash() == 9000
    event = await operator.heard(BET_PLACED, lambda data: data.bet_id == placed.bet_id)
    assert event.data.event_ids == [match.event_id]
    bet = await player.bet(placed.bet_id)
    assert (bet.status, bet.payout, bet.legs[0].result) == ("accepted", None, "open")


@pytest.mark.parametrize(
    ("policy", "now", "struck"),
    [
        ("none", "2.60", None),
        ("none", "2.50", "2.50"),
        ("higher", "2.40", None),
        ("higher", "2.60", "2.60"),
        ("any", "1.90", "1.90"),
    ],
)
async def test_a_price_that_moved_is_taken_or_refused_as_the_slip_says(
    match: Match, player: Player, policy: OddsPolicy, now: str, struck: str | None
) -> None:
    await match.odds({(1, ""): {"1": now}})
    if struck is None:
        with pytest.raises(OddsChanged) as refused:
            await player.bets(match.leg("2.50"), policy=policy)
        assert refused.value.members["odds"] == now
        assert await player.cash() == 10_000
    else:
        assert (await player.bets(match.leg("2.50"), policy=policy)).odds == struck


async def test_a_suspended_market_takes_no_bets_until_it_is_active_again(
    match: Match, player: Player
) -> None:
    await match.odds()
    await match.stop()
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())
    await match.odds()
    assert (await player.bets(match.leg())).status == "accepted"


async def test_a_settled_market_takes_no_bets(match: Match, player: Player) -> None:
    await match.odds()
    await match.settle({"1": 'result="1"'})
    await match.odds()
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())


async def test_a_pre_match_market_takes_no_bets_after_the_start(
    match: Match, player: Player
) -> None:
    await match.odds(product=3)
    await match.fixture("2026-01-01T00:00:00Z")
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())
    await match.odds(product=1)
    assert (await player.bets(match.leg())).status == "accepted"


async def test_what_is_not_there_cannot_be_bet_on(match: Match, player: Player) -> None:
    await match.odds()
    for leg in (
        Match(match.operator).leg(),
        match.leg(outcome="99"),
        match.leg(specifiers="total=9"),
    ):
        with pytest.raises(NotFound):
            await player.bets(leg)


async def test_the_order_of_specifiers_does_not_matter(match: Match, player: Player) -> None:
    await match.odds({(245, "setnr=1|pointnr=3"): {"4": "1.9"}})
    leg = match.leg("1.9", specifiers="pointnr=3|setnr=1", market=245, outcome="4")
    assert (await player.bets(leg)).status == "accepted"


async def test_many_requests_under_one_key_are_one_bet_with_one_answer(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    slip = player.slip(match.leg(), key="once")
    answers = await asyncio.gather(*(operator.call(PLACE_BET, slip) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert await player.cash() == 9000
    bet_id = answers[0].bet_id
    await operator.heard(BET_PLACED, lambda data: data.bet_id == bet_id)
    assert len(await operator.all_heard(BET_PLACED, lambda data: data.bet_id == bet_id)) == 1


async def test_the_same_key_gives_the_same_answer_after_the_market_closed_and_paid(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    slip = player.slip(match.leg())
    first = await operator.call(PLACE_BET, slip)
    await match.settle({"1": 'result="0"'})
    assert await operator.call(PLACE_BET, slip) == first


async def test_the_same_key_with_another_body_is_refused(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    await operator.call(PLACE_BET, player.slip(match.leg(), key="k"))
    with pytest.raises(IdempotencyMismatch):
        await operator.call(PLACE_BET, player.slip(match.leg(), key="k", stake=999))


async def test_a_refusal_of_the_wallet_is_given_again_even_after_money_came(
    match: Match, operator: Operator
) -> None:
    await match.odds()
    player = await Player(operator).with_money(500)
    slip = player.slip(match.leg())
    with pytest.raises(BetRefused) as first:
        await operator.call(PLACE_BET, slip)
    await operator.heard(BET_REJECTED, lambda data: data.user_id == player.user_id)
    await player.with_money(5000)
    with pytest.raises(BetRefused) as again:
        await operator.call(PLACE_BET, slip)
    assert (first.value.detail, first.value.members) == (again.value.detail, again.value.members)
    assert await player.cash() == 5500
    bets = await operator.call(LIST_BETS, BetsOf(user_id=player.user_id, status="rejected"))
    assert len(bets.items) == 1


async def test_a_player_without_a_wallet_has_no_money(match: Match, operator: Operator) -> None:
    await match.odds()
    with pytest.raises(BetRefused):
        await Player(operator).bets(match.leg())


async def test_another_currency_than_the_wallets_is_refused(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    with pytest.raises(CurrencyMismatch):
        await operator.call(PLACE_BET, player.slip(match.leg(), currency="USD"))


@pytest.mark.parametrize("stake", [9, 1_000_001])
async def test_a_stake_outside_the_limits_is_refused_with_the_limits(
    match: Match, player: Player, stake: int
) -> None:
    await match.odds()
    with pytest.raises(LimitExceeded) as refused:
        await player.bets(match.leg(), stake=stake)
    assert refused.value.members == {"min": 10, "max": 1_000_000}


async def test_an_excluded_player_strikes_no_bets(
    match: Match, player: Player, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    until_then = SystemClock().now() + timedelta(days=200)
    told = identity.SelfExcludedData(user_id=player.user_id, until=until_then, time_out=False)
    await operator.publish(identity.SELF_EXCLUDED, told, subject=player.user_id)
    await known(platform, player, "player", "excluded_until IS NOT NULL")
    with pytest.raises(SelfExcluded):
        await player.bets(match.leg())
    assert await player.cash() == 10_000


async def test_a_refunded_deposit_lowers_the_highest_stake(
    match: Match, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    player = await Player(operator).with_money(500_000)
    told = payment.PaymentRefunded(
        payment_id=new_id(), user_id=player.user_id, amount=100, currency="EUR"
    )
    await operator.publish(payment.PAYMENT_REFUNDED, told, subject=told.payment_id)
    await known(platform, player, "player", "watched_since IS NOT NULL")
    with pytest.raises(LimitExceeded):
        await player.bets(match.leg(), stake=100_001)
    assert (await player.bets(match.leg(), stake=100_000)).status == "accepted"


async def known(platform: Platform, player: Player, table: str, holds: str) -> None:
    """Wait until an event about a player has arrived."""
    query = f"SELECT count(*) FROM {table} WHERE user_id = $1 AND {holds}"  # noqa: S608 - constants

    async def there() -> bool:
        async with platform.database("sportsbook") as database:
            return await database.fetchval(query, player.user_id) > 0

    await until(there, f"{table}: {holds}")


async def test_two_legs_of_one_event_are_no_accumulator(match: Match, player: Player) -> None:
    await match.odds()
    with pytest.raises(Invalid, match="different events"):
        await player.bets(match.leg(), match.leg(outcome="2"))


async def test_bets_are_listed_newest_first_page_by_page_and_only_ones_own(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    placed = [(await player.bets(match.leg(), stake=100)).bet_id for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await operator.call(
            LIST_BETS, BetsOf(user_id=player.user_id, limit=2, cursor=cursor)
        )
        seen += [bet.bet_id for bet in page.items]
        cursor = page.next_cursor
    assert cursor is None
    assert seen == placed[::-1]
    with pytest.raises(NotFound):
        await Player(operator).bet(placed[0])
    with pytest.raises(Invalid):
        await operator.call(LIST_BETS, BetsOf(user_id=player.user_id, cursor="nonsense"))


async def test_the_open_risk_is_summed_by_currency_and_follows_the_bets(
    match: Match, player: Player, operator: Operator, platform: Platform
) -> None:
    async def reported() -> tuple[int, int]:
        report = await operator.call(LIABILITIES, Liabilities())
        found = [each for each in report.items if each.currency == "EUR"]
        return (found[0].stakes, found[0].potential_payout) if found else (0, 0)

    async with platform.database("sportsbook") as database:
        row = await database.fetchrow(
            "SELECT coalesce(sum(stake), 0)::bigint, coalesce(sum(potential_payout), 0)::bigint"
            " FROM bet WHERE status = 'accepted' AND currency = 'EUR'"
        )
    assert row is not None
    before: tuple[int, int] = (row[0], row[1])
    await match.odds()
    await player.bets(match.leg(), stake=1000)

    async def risen() -> bool:
        return await reported() == (before[0] + 1000, before[1] + 2500)

    await until(risen, "the risk has risen")
    await match.settle({"1": 'result="0"'})

    async def fallen() -> bool:
        return await reported() == before

    await until(fallen, "the risk has fallen")


async def test_placed_at_is_an_instant_in_utc(match: Match, player: Player) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    assert abs(placed.placed_at - datetime.now(UTC)) < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome_id", "1\0"),
        ("event_id", "\0"),
        ("specifiers", "total=\0"),
        ("specifiers", "total"),
        ("odds", "2.5\0"),
    ],
)
async def test_text_that_the_database_cannot_hold_is_invalid_and_no_failure(
    match: Match, player: Player, operator: Operator, field: str, value: str
) -> None:
    await match.odds()
    leg = msgspec.structs.replace(match.leg(), **{field: value})
    with pytest.raises(Invalid):
        await operator.call(PLACE_BET, player.slip(leg))


async def test_an_accumulator_of_twenty_long_shots_is_taken(
    player: Player, operator: Operator
) -> None:
    matches = [Match(operator) for _ in range(20)]
    for match in matches:
        await match.odds({(1, ""): {"1": "13.00"}})
    answer = await player.bets(*(match.leg("13.00") for match in matches))
    assert answer.odds == "19004963774880799438801.00"
    assert await player.cash() == 9000
