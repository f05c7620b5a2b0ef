"""gaming through its messages: pots, tickets and scores, exact however often events come.

Each test plays in a currency of its own, which gets its pot, raffle and tournament at first use.
"""

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from svc.casino import contract as casino
from svc.gaming import rules
from svc.gaming.contract import (
    CLOSE_TOURNAMENT,
    DRAW_RAFFLE,
    JACKPOT_TICKS,
    LEADERBOARD,
    LIST_JACKPOTS,
    LIST_RAFFLES,
    LIST_TOURNAMENTS,
    PRIZE_AWARDED,
    RAFFLE_DRAWN,
    RAFFLE_TICKETS_ISSUED,
    TOURNAMENT_CLOSED,
    CloseTournament,
    DrawRaffle,
    Jackpot,
    Jackpots,
    LeaderboardOf,
    ListJackpots,
    ListRaffles,
    ListTournaments,
    Raffle,
    Tournament,
)
from svc.identity import contract as identity
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import Conflict, NotFound
from svc.notification import contract as notification
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from tests.casino.players import balance_becomes, eventually, new_player
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform

USED: set[str] = {"EUR", "USD", "BRL"}


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services("gaming")


@pytest.fixture
def currency() -> str:
    """A currency that no other test of this run uses."""
    while True:
        code = "".join(random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=3))
        if code not in USED:
            USED.add(code)
            return code


async def stake(
    operator: Operator, user_id: str, amount: int, currency: str
) -> casino.CasinoBetPlaced:
    """Let a player stake in the casino, as casino would say it."""
    placed = casino.CasinoBetPlaced(
        round_id=new_id(), session_id=new_id(), user_id=user_id, game_id="dice", stake=amount,
        currency=currency, stake_transfer_id=new_id(),
    )  # fmt: skip
    await operator.publish(casino.CASINO_BET_PLACED, placed, subject=placed.round_id)
    return placed


async def bet(operator: Operator, user_id: str, amount: int, currency: str) -> None:
    """Let a player bet on sports, as sportsbook would say it."""
    fields: dict[str, Any] = {
        "bet_id": new_id(), "user_id": user_id, "kind": "single", "stake": amount,
        "currency": currency, "odds": "2.00", "potential_payout": 2 * amount, "legs": 1,
        "event_ids": ["sr:match:1"], "stake_transfer_id": new_id(),
    }  # fmt: skip
    placed = msgspec.convert(fields, sportsbook.BetPlaced)
    await operator.publish(sportsbook.BET_PLACED, placed, subject=placed.bet_id)


async def deposit(
    operator: Operator, user_id: str, amount: int, currency: str, *, times: int = 1
) -> str:
    """Let a deposit succeed and be delivered some times; return the payment's id."""
    paid = payment.PaymentSuccess(
        payment_id=new_id(), user_id=user_id, amount=amount, currency=currency, method="card",
        transfer_id=new_id(), first=False,
    )  # fmt: skip
    event_id = new_id()
    for _ in range(times):
        await operator.publish(
            payment.PAYMENT_SUCCESS, paid, subject=paid.payment_id, event_id=event_id
        )
    return paid.payment_id


async def refund(
    operator: Operator, payment_id: str, user_id: str, amount: int, currency: str
) -> None:
    given_back = payment.PaymentRefunded(
        payment_id=payment_id, user_id=user_id, amount=amount, currency=currency
    )
    await operator.publish(payment.PAYMENT_REFUNDED, given_back, subject=payment_id)


async def exclude(operator: Operator, platform: Platform, user_id: str) -> None:
    until = SystemClock().now() + timedelta(days=180)
    excluded = identity.SelfExcludedData(user_id=user_id, until=until, time_out=False)
    await operator.publish(identity.SELF_EXCLUDED, excluded, subject=user_id)

    async def known() -> bool:
        async with platform.database("gaming") as connection:
            return bool(
                await connection.fetchval("SELECT true FROM players WHERE user_id = $1", user_id)
            )

    await eventually(known, "the exclusion is known")


async def jackpot(operator: Operator, currency: str) -> Jackpot | None:
    pots = await operator.call(LIST_JACKPOTS, ListJackpots())
    return next((pot for pot in pots.items if pot.currency == currency), None)


async def raffle(operator: Operator, currency: str) -> Raffle | None:
    raffles = await operator.call(LIST_RAFFLES, ListRaffles())
    return next((one for one in raffles.items if one.currency == currency), None)


async def raffle_with(operator: Operator, currency: str, tickets: int) -> Raffle:
    """Wait until a currency's raffle has some tickets and return it."""

    async def holds() -> bool:
        found = await raffle(operator, currency)
        return found is not None and found.tickets == tickets

    await eventually(holds, f"the {currency} raffle has {tickets} tickets")
    found = await raffle(operator, currency)
    assert found is not None
    return found


async def tournament(operator: Operator, currency: str) -> Tournament | None:
    listed = await operator.call(LIST_TOURNAMENTS, ListTournaments())
    return next((one for one in listed.items if one.currency == currency), None)


async def scores(operator: Operator, currency: str) -> list[tuple[str, int]]:
    found = await tournament(operator, currency)
    if found is None:
        return []
    board = await operator.call(LEADERBOARD, LeaderboardOf(tournament_id=found.tournament_id))
    assert [line.place for line in board.items] == list(range(1, len(board.items) + 1))
    return [(line.user_id, line.score) for line in board.items]


async def scores_become(operator: Operator, currency: str, wanted: list[tuple[str, int]]) -> str:
    """Wait until a currency's leaderboard is as wanted; return the tournament's id."""

    async def holds() -> bool:
        return await scores(operator, currency) == wanted

    await eventually(holds, f"the leaderboard is {wanted}")
    found = await tournament(operator, currency)
    assert found is not None
    return found.tournament_id


async def turn_over(operator: Operator) -> None:
    due = scheduler.JobDue(
        service="gaming", name="turn-over", key="", due_at=SystemClock().now(), payload={}
    )
    await operator.publish(scheduler.JOB_DUE, due, subject="gaming.turn-over")


async def test_euro_dollar_and_real_have_games_from_the_start(operator: Operator) -> None:
    for currency in ("EUR", "USD", "BRL"):
        assert await jackpot(operator, currency)
        assert await raffle(operator, currency)
        running = await tournament(operator, currency)
        assert running is not None
        assert running.prizes == [50_000, 30_000, 20_000]


async def test_a_pot_grows_by_one_percent_to_a_ten_thousandth_of_a_cent(
    operator: Operator, platform: Platform, currency: str
) -> None:
    user_id = new_id()
    for amount in (250, 333, 1):
        await stake(operator, user_id, amount, currency)

    async def holds() -> bool:
        async with platform.database("gaming") as connection:
            row = await connection.fetchrow(
                "SELECT contributed_e4, main_e4, reserve_e4 FROM jackpots WHERE currency = $1",
                currency,
            )
        return row is not None and tuple(row) == (58_400, 46_720, 11_680)

    await eventually(holds, "5.84 minor units are contributed")
    pot = await jackpot(operator, currency)
    assert pot is not None
    assert (pot.value, pot.seed, pot.wins) == (10_004, 10_000, 0)


async def test_the_bet_that_reaches_the_secret_target_wins_and_the_draw_can_be_checked(
    operator: Operator, currency: str
) -> None:
    await stake(operator, new_id(), 1, currency)

    async def exists() -> bool:
        return await jackpot(operator, currency) is not None

    await eventually(exists, "the pot exists")
    before = await jackpot(operator, currency)
    winner = new_id()
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    assert (prize.data.kind, prize.data.amount, prize.data.currency) == (
        "jackpot", rules.JACKPOT_CAP, currency
    )  # fmt: skip
    after = await jackpot(operator, currency)
    assert before is not None
    assert after is not None
    assert (after.wins, after.cycle) == (1, 2)
    assert after.value == 10_000 + 160_000 - 90_000
    won = after.last_win
    assert won is not None
    assert won.commitment == before.commitment != after.commitment
    assert won.commitment == rules.target_commitment(won.target, won.salt)
    assert rules.JACKPOT_SEED <= won.target <= rules.JACKPOT_CAP


async def test_a_bet_that_is_delivered_many_times_counts_once(
    operator: Operator, platform: Platform, currency: str
) -> None:
    user_id, event_id = new_id(), new_id()
    placed = casino.CasinoBetPlaced(
        round_id=new_id(), session_id=new_id(), user_id=user_id, game_id="slots", stake=500,
        currency=currency, stake_transfer_id=new_id(),
    )  # fmt: skip
    for _ in range(10):
        await operator.publish(
            casino.CASINO_BET_PLACED, placed, subject=placed.round_id, event_id=event_id
        )
    await stake(operator, user_id, 7, currency)
    await scores_become(operator, currency, [(user_id, 507)])
    async with platform.database("gaming") as connection:
        contributed = await connection.fetchval(
            "SELECT contributed_e4 FROM jackpots WHERE currency = $1", currency
        )
    assert contributed == 50_700


async def test_followers_see_the_pots_whenever_one_grows(operator: Operator, currency: str) -> None:
    frames = await operator.connection.subscribe(JACKPOT_TICKS.subject("all"))
    await operator.connection.flush()
    await stake(operator, new_id(), 100_000, currency)

    async def seen() -> bool:
        message = await frames.next_msg(timeout=5)
        pots = msgspec.json.decode(message.data, type=Jackpots)
        return any((pot.currency, pot.value) == (currency, 10_800) for pot in pots.items)

    await eventually(seen, "the pot is pushed")
    await frames.unsubscribe()


async def test_a_raffle_gives_tickets_for_deposits_and_its_draw_can_be_checked(
    operator: Operator, platform: Platform, currency: str
) -> None:
    ann, bob = new_id(), new_id()
    await deposit(operator, ann, 5_999, currency, times=5)
    payment_id = await deposit(operator, bob, 2_500, currency)
    await deposit(operator, bob, 999, currency)
    open_raffle = await raffle_with(operator, currency, 7)
    issued = await operator.heard(RAFFLE_TICKETS_ISSUED, lambda data: data.user_id == bob)
    assert (issued.data.tickets, issued.data.payment_id) == (2, payment_id)
    assert (open_raffle.status, open_raffle.server_seed, open_raffle.winners) == ("open", None, [])

    drawn = await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id=open_raffle.raffle_id))
    told = await operator.heard(RAFFLE_DRAWN, lambda data: data.raffle_id == open_raffle.raffle_id)
    tickets = [rules.ticket_id(number) for number in range(7)]
    assert rules.seed_commitment(told.data.server_seed) == open_raffle.commitment
    assert told.data.list_hash == rules.list_hash(tickets)
    assert told.data.winners == rules.draw_winners(
        open_raffle.raffle_id, tickets, told.data.server_seed, 3
    )
    async with platform.database("gaming") as connection:
        rows = await connection.fetch(
            """SELECT user_id::text FROM raffle_tickets
               WHERE raffle_id = $1 AND place IS NOT NULL ORDER BY place""",
            open_raffle.raffle_id,
        )
    assert [place.user_id for place in drawn.winners] == [row["user_id"] for row in rows]
    prizes = await operator.all_heard(
        PRIZE_AWARDED, lambda data: data.source_id == open_raffle.raffle_id, count=3
    )
    assert [prize.data.amount for prize in prizes] == [5_000, 5_000, 5_000]
    with pytest.raises(Conflict):
        await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id=open_raffle.raffle_id))
    with pytest.raises(NotFound):
        await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id="raffle-of-nobody"))


async def test_a_refunded_deposit_loses_its_tickets_before_or_after_it_is_heard(
    operator: Operator, currency: str
) -> None:
    user_id = new_id()
    kept = await deposit(operator, user_id, 3_000, currency)
    lost = await deposit(operator, user_id, 4_000, currency)
    await raffle_with(operator, currency, 7)
    await refund(operator, lost, user_id, 4_000, currency)
    await raffle_with(operator, currency, 3)
    await refund(operator, kept, user_id, 500, currency)
    await raffle_with(operator, currency, 2)

    early = payment.PaymentSuccess(
        payment_id=new_id(), user_id=user_id, amount=5_000, currency=currency, method="card",
        transfer_id=new_id(), first=False,
    )  # fmt: skip
    await refund(operator, early.payment_id, user_id, 4_000, currency)
    await operator.publish(payment.PAYMENT_SUCCESS, early, subject=early.payment_id)
    await raffle_with(operator, currency, 3)


async def test_excluded_players_get_no_tickets_and_no_score(
    operator: Operator, platform: Platform, currency: str
) -> None:
    excluded, other = new_id(), new_id()
    await exclude(operator, platform, excluded)
    await deposit(operator, excluded, 10_000, currency)
    await deposit(operator, other, 1_000, currency)
    await raffle_with(operator, currency, 1)
    await bet(operator, excluded, 900, currency)
    await bet(operator, other, 100, currency)
    await scores_become(operator, currency, [(other, 100)])


async def test_among_equal_scores_the_first_leads_and_prizes_go_by_place(
    operator: Operator, currency: str
) -> None:
    first, second, third, fourth = (new_id() for _ in range(4))
    await bet(operator, second, 400, currency)
    await stake(operator, first, 1_000, currency)
    await scores_become(operator, currency, [(first, 1_000), (second, 400)])
    await bet(operator, second, 600, currency)
    await bet(operator, third, 999, currency)
    await bet(operator, fourth, 5, currency)
    wanted = [(first, 1_000), (second, 1_000), (third, 999), (fourth, 5)]
    tournament_id = await scores_become(operator, currency, wanted)

    closed = await operator.call(CLOSE_TOURNAMENT, CloseTournament(tournament_id=tournament_id))
    assert [(place.user_id, place.prize) for place in closed.winners] == [
        (first, 50_000), (second, 30_000), (third, 20_000),
    ]  # fmt: skip
    told = await operator.heard(TOURNAMENT_CLOSED, lambda data: data.tournament_id == tournament_id)
    assert told.data.players == 4
    prizes = await operator.all_heard(
        PRIZE_AWARDED, lambda data: data.source_id == tournament_id, count=3
    )
    assert {prize.data.user_id: prize.data.amount for prize in prizes} == {
        first: 50_000, second: 30_000, third: 20_000,
    }  # fmt: skip
    assert len({prize.data.transfer_id for prize in prizes}) == 3
    board = await operator.call(LEADERBOARD, LeaderboardOf(tournament_id=tournament_id))
    assert [(line.user_id, line.score) for line in board.items] == wanted
    with pytest.raises(Conflict):
        await operator.call(CLOSE_TOURNAMENT, CloseTournament(tournament_id=tournament_id))
    with pytest.raises(NotFound):
        await operator.call(LEADERBOARD, LeaderboardOf(tournament_id="no-such-tournament"))


async def test_a_lost_leaderboard_is_written_again_from_the_database(
    operator: Operator, platform: Platform, services: Services, currency: str
) -> None:
    from redis.asyncio import Redis

    user_id, other = new_id(), new_id()
    await bet(operator, user_id, 300, currency)
    await bet(operator, other, 200, currency)
    tournament_id = await scores_become(operator, currency, [(user_id, 300), (other, 200)])
    board, members = f"gaming:leaderboard:{tournament_id}", f"gaming:members:{tournament_id}"
    async with Redis.from_url(platform.settings["REDIS_URL"]) as valkey:
        await valkey.delete(board, members)
        assert await scores(operator, currency) == [(user_id, 300), (other, 200)]
        assert await valkey.zcard(board) == 2
        await valkey.delete(board, members)
        await services.stop("gaming")
        await services("gaming")
        assert await valkey.zcard(board) == 2
    await bet(operator, other, 101, currency)
    await scores_become(operator, currency, [(other, 301), (user_id, 300)])


async def test_what_has_ended_is_drawn_and_closed_by_the_job_and_the_next_begins(
    operator: Operator, platform: Platform, currency: str
) -> None:
    user_id = new_id()
    await deposit(operator, user_id, 1_000, currency)
    await bet(operator, user_id, 100, currency)
    ended = await raffle_with(operator, currency, 1)
    tournament_id = await scores_become(operator, currency, [(user_id, 100)])
    async with platform.database("gaming") as connection:
        await connection.execute(
            "UPDATE raffles SET draws_at = now() - interval '1 second' WHERE currency = $1",
            currency,
        )
        await connection.execute(
            """UPDATE tournaments SET starts_at = starts_at - interval '7 days',
                   ends_at = now() - interval '61 seconds' WHERE currency = $1""",
            currency,
        )
    await turn_over(operator)
    prizes = await operator.all_heard(PRIZE_AWARDED, lambda data: data.user_id == user_id, count=2)
    assert {prize.data.source_id for prize in prizes} == {ended.raffle_id, tournament_id}

    async def begun() -> bool:
        next_raffle = await raffle(operator, currency)
        next_race = await tournament(operator, currency)
        return (
            next_raffle is not None
            and next_race is not None
            and (next_raffle.status, next_race.status) == ("open", "running")
            and next_raffle.raffle_id != ended.raffle_id
            and next_race.tournament_id != tournament_id
        )

    await eventually(begun, "the next raffle and tournament run")


async def test_a_delivered_notice_of_a_prize_is_noted(
    operator: Operator, platform: Platform, currency: str
) -> None:
    winner = new_id()
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    delivered = notification.NotificationDelivered(
        message_id=new_id(), user_id=winner, template="gaming.prize", channel="email",
        cause=prize.id,
    )  # fmt: skip
    await operator.publish(
        notification.NOTIFICATION_DELIVERED, delivered, subject=delivered.message_id
    )

    async def noted() -> bool:
        async with platform.database("gaming") as connection:
            return bool(
                await connection.fetchval(
                    "SELECT notified_at IS NOT NULL FROM awards WHERE award_id = $1",
                    prize.data.award_id,
                )
            )

    await eventually(noted, "the notice is on record")


async def test_a_prize_reaches_the_winners_wallet_once(
    operator: Operator, services: Services, currency: str
) -> None:
    await services("wallet")
    winner = await new_player(operator, 0, currency)
    await stake(operator, winner, 20_000_000, currency)
    prize = await operator.heard(PRIZE_AWARDED, lambda data: data.user_id == winner)
    await balance_becomes(operator, winner, prize.data.amount)
    await operator.publish(PRIZE_AWARDED, prize.data, subject=prize.data.award_id)
    await stake(operator, winner, 20_000_000, currency)
    again = await operator.heard(
        PRIZE_AWARDED,
        lambda data: data.user_id == winner and data.award_id != prize.data.award_id,
    )
    await balance_becomes(operator, winner, prize.data.amount + again.data.amount)
