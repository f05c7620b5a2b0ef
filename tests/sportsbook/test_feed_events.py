"""One event asked for again by staff: against the simulator's recovery API, within its limits."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime, timedelta

import pytest

from svc.mesh.clock import SystemClock
from svc.mesh.errors import Conflict, NotFound, Unavailable
from svc.outside import feed as outside_feed
from svc.outside.server import Rejected
from svc.sportsbook.contract_feed import (
    RECOVER_EVENT,
    EventRecovery,
    FeedRefused,
    RecoverEvent,
    RecoveryLimited,
    What,
)
from svc.sportsbook.feed_rules import EVENT_LIMITS, is_kept, wait_for_event
from tests.sportsbook.house_door import Account, Door, problem
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.sportsbook.provider import PRODUCT, Provider, forget, provided
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until

NOW = SystemClock().now()


@pytest.fixture(scope="module")
async def simulator(operator: Operator) -> AsyncGenerator[Provider]:
    async with provided(operator) as found:
        yield found


@pytest.fixture
async def provider(
    match: Match, simulator: Provider, platform: Platform
) -> AsyncGenerator[Provider]:
    assert match
    await forget(platform)
    yield simulator
    await simulator.faults()
    await forget(platform)


async def asked(operator: Operator, match: Match, what: What | None = None) -> EventRecovery:
    request = RecoverEvent(event_id=match.event_id, producer=PRODUCT, what=what)
    return await operator.call(RECOVER_EVENT, request)


async def until_ended(platform: Platform, request: int | None) -> None:
    """Wait until the end of a recovery has come."""

    async def ended() -> bool:
        async with platform.database("sportsbook") as database:
            return bool(
                await database.fetchval(
                    "SELECT completed_at FROM recovery WHERE recovery_id = $1", request
                )
            )

    await until(ended, f"the recovery {request} has ended")


async def says_unheard(provider: Provider, message: str, **fields: object) -> None:
    """Let the provider say something that never arrives."""
    await provider.faults(drop=1)
    body = {"message": message, "product": PRODUCT, **fields}
    await provider.client.post("/simulate/send", json=body)
    await provider.faults()


async def test_odds_and_results_that_were_missed_come_again_for_one_event(
    match: Match, player: Player, provider: Provider, operator: Operator, platform: Platform
) -> None:
    await provider.odds(match.event_id, "2.50")
    placed = await player.bets(match.leg())
    outcome = {"id": "1", "odds": "1.90", "active": 1}
    market = {"id": 1, "status": 1, "outcomes": [outcome]}
    await says_unheard(provider, "odds_change", event_id=match.event_id, markets=[market])
    found = await asked(operator, match, "odds")
    assert found.stateful_request is None
    await until_ended(platform, found.odds_request)
    assert (await match.shown()).markets[0].outcomes[0].odds == "1.90"
    result = {"id": 1, "outcomes": [{"id": "1", "result": 1}]}
    await says_unheard(provider, "bet_settlement", event_id=match.event_id, markets=[result])
    found = await asked(operator, match)
    await until_ended(platform, found.odds_request)
    await until_ended(platform, found.stateful_request)
    await player.gets_to(11_500)
    # Asked for once more, the same comes again and nothing happens twice.
    again = await asked(operator, match, "stateful")
    assert again.stateful_request != found.stateful_request
    await until_ended(platform, again.stateful_request)
    assert (await player.bet(placed.bet_id)).payout == 2500
    assert await player.cash() == 11_500


async def test_the_end_of_an_events_recovery_brings_no_producer_up(
    match: Match, provider: Provider, operator: Operator, platform: Platform
) -> None:
    await provider.odds(match.event_id, "2.50")
    await provider.alive()
    async with platform.database("sportsbook") as database:
        await database.execute(
            "UPDATE producer SET up = false, recovery_id = NULL WHERE producer = $1", PRODUCT
        )
        found = await asked(operator, match)
        await until_ended(platform, found.odds_request)
        await until_ended(platform, found.stateful_request)
        up = await database.fetchval("SELECT up FROM producer WHERE producer = $1", PRODUCT)
    assert up is False


async def test_who_asks_while_it_runs_is_told_the_same_numbers_and_no_answer_may_be_asked_again(
    match: Match, provider: Provider, operator: Operator
) -> None:
    await provider.odds(match.event_id, "2.50")
    await provider.faults(error_5xx=10)  # asked again by the mesh, too
    with pytest.raises(Unavailable):
        await asked(operator, match, "odds")
    await provider.faults(error_5xx=0, drop=10)  # nothing comes, so it has not ended
    first = await asked(operator, match)
    assert await asked(operator, match) == first


async def test_an_event_or_producer_that_there_is_not_and_what_is_too_old_are_refused(
    match: Match, provider: Provider, operator: Operator, platform: Platform
) -> None:
    with pytest.raises(NotFound):
        await operator.call(RECOVER_EVENT, RecoverEvent(event_id=match.event_id, producer=999))
    with pytest.raises(NotFound):
        await operator.call(RECOVER_EVENT, RecoverEvent(event_id="sr match", producer=PRODUCT))
    other = RecoverEvent(event_id=match.event_id, producer=4)  # the simulator has none of these
    with pytest.raises(FeedRefused, match="404"):
        await operator.call(RECOVER_EVENT, other)
    await match.fixture("2026-01-01T18:00:00Z")
    with pytest.raises(Conflict, match="30 days"):
        await asked(operator, match)
    assert provider
    await until_ended(platform, (await asked(operator, match, "odds")).odds_request)


async def test_staff_asks_at_the_door_and_players_may_not(
    match: Match, provider: Provider, door: Door, platform: Platform
) -> None:
    await provider.odds(match.event_id, "2.50")
    path = f"/v1/admin/sportsbook/events/{match.event_id}/recoveries"
    body = {"producer": PRODUCT, "what": "odds"}
    answer = await door.client.post(path, json=body, headers=door.staff)
    assert answer.status_code == 202, answer.text
    await until_ended(platform, answer.json()["odds_request"])
    player = await Account.opened(door)
    answer = await door.client.post(path, json=body, headers=player.headers)
    assert (answer.status_code, problem(answer)) == (403, "forbidden")
    answer = await door.client.post(path, json={"what": "all"}, headers=door.staff)
    assert (answer.status_code, problem(answer)) == (400, "validation")


async def test_no_more_is_asked_for_than_the_provider_allows(
    match: Match, provider: Provider, operator: Operator, platform: Platform
) -> None:
    assert provider
    most = EVENT_LIMITS[0].count
    async with platform.database("sportsbook") as database:
        await database.executemany(
            "INSERT INTO recovery (producer, event_id, what, asked_at, completed_at)"
            " VALUES ($1, 'sr:match:1', 'odds', now(), now())",
            [(PRODUCT,)] * (most - 1),
        )
        with pytest.raises(RecoveryLimited) as refused:
            await asked(operator, match)
    wait = refused.value.members["retry_after"]
    assert isinstance(wait, int)
    assert 500 < wait <= 601


async def test_the_simulator_allows_no_more_than_the_provider_does() -> None:
    at = [0.0]
    told = outside_feed.Settings(url="http://127.0.0.1:9", token="t")
    feed = outside_feed.Feed(told, clock=lambda: at[0])
    allowed = 0
    for second in range(0, 3_600, 5):
        at[0] = float(second)
        with suppress(Rejected):
            feed.count_event_recovery()
            allowed += 1
    assert allowed == 300
    at[0] = 3_600.0
    feed.count_event_recovery()
    await feed.close()


def test_the_longest_of_the_limits_decides_when_an_event_may_be_asked_for() -> None:
    def ago(minutes: float, count: int) -> list[datetime]:
        return [NOW - timedelta(minutes=minutes)] * count

    assert wait_for_event([], 2, NOW) == timedelta()
    assert wait_for_event([*ago(5, 99)], 1, NOW) == timedelta()
    assert wait_for_event([*ago(5, 99)], 2, NOW) == timedelta(minutes=5)
    assert wait_for_event([*ago(11, 299)], 1, NOW) == timedelta()
    assert wait_for_event([*ago(11, 299)], 2, NOW) == timedelta(minutes=49)
    assert wait_for_event([*ago(5, 200)], 0, NOW) == timedelta()


def test_what_settled_is_kept_for_thirty_days() -> None:
    assert is_kept(None, NOW)
    assert is_kept(NOW - timedelta(days=29), NOW)
    assert not is_kept(NOW - timedelta(days=31), NOW)
