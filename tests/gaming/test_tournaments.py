"""Tournaments: places by stakes, kept in Valkey, true in Postgres, through messages.

Each test plays in a currency of its own, which gets its pot, raffle and tournament at first use.
"""

import pytest

from svc.gaming.contract import (
    CLOSE_TOURNAMENT,
    LEADERBOARD,
    PRIZE_AWARDED,
    TOURNAMENT_CLOSED,
    CloseTournament,
    LeaderboardOf,
)
from svc.mesh.clock import new_id
from svc.mesh.errors import Conflict, NotFound
from tests.gaming.feeds import (
    bet,
    deposit,
    jackpot,
    raffle,
    raffle_with,
    scores,
    scores_become,
    stake,
    tournament,
    turn_over,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services("gaming")


async def test_euro_dollar_and_real_have_games_from_the_start(operator: Operator) -> None:
    for currency in ("EUR", "USD", "BRL"):
        assert await jackpot(operator, currency)
        assert await raffle(operator, currency)
        running = await tournament(operator, currency)
        assert running is not None
        assert running.prizes == [50_000, 30_000, 20_000]


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

    await until(begun, "the next raffle and tournament run")
