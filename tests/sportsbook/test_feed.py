"""What the feed's messages do to events and markets, on the real broker and database."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest
from nats.aio.msg import Msg

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid, NotFound, Unauthenticated
from svc.sportsbook.contract import (
    GET_EVENT,
    LIST_EVENTS,
    EventDetail,
    EventOf,
    EventsWith,
    Market,
)
from tests.sportsbook.match import Match, now_ms, send
from tests.sportsbook.players import Player, sweep
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

TOTAL = {(18, "total=2.5"): {"12": "1.85", "13": "1.95"}}


async def market(match: Match, number: int = 1) -> Market:
    found = await match.shown()
    return next(each for each in found.markets if each.market_id == number)


async def test_an_event_first_seen_in_its_odds_is_shown_with_them(match: Match) -> None:
    await match.odds(TOTAL)
    shown = await match.shown()
    assert shown.markets[0].status == "active"
    told = [(each.outcome_id, each.odds, each.active) for each in shown.markets[0].outcomes]
    assert told == [("12", "1.85", True), ("13", "1.95", True)]


async def test_names_and_time_follow_with_the_fixture(match: Match, operator: Operator) -> None:
    await match.odds()
    await match.fixture("2027-03-01T18:00:00Z")
    shown = await match.shown()
    assert shown.name == "Rovers v Wanderers"
    assert shown.starts_at == datetime(2027, 3, 1, 18, tzinfo=UTC)
    assert shown.sport == "Soccer"
    listed = await operator.call(LIST_EVENTS, EventsWith(sport="soccer", limit=200))
    assert match.event_id in {each.event_id for each in listed.items}


async def test_markets_and_outcomes_have_names_or_else_their_numbers(
    match: Match, services: Services
) -> None:
    await services("localization")
    await match.fixture("2027-03-01T18:00:00Z")
    names = {
        (1, ""): {"1": "2.50", "2": "3.20"},
        (16, "hcp=-0.25"): {"1714": "1.9", "1715": "1.9"},
        (18, "total=2.5"): {"12": "1.85"},
        (999, "nr=3"): {"7": "2.0"},
    }

    async def named() -> bool:
        await match.odds(names)
        return (await market(match)).name == "Match result"

    await until(named, "localization is found")
    shown = await match.shown()
    told = {each.name: [outcome.name for outcome in each.outcomes] for each in shown.markets}
    assert told == {
        "Match result": ["Rovers", "Draw"],
        "Handicap -0.25": ["Rovers (-0.25)", "Wanderers (+0.25)"],
        "Total goals 2.5": ["Over 2.5"],
        "Market 999 (nr=3)": ["Outcome 7"],
    }


async def test_a_new_message_replaces_prices_and_takes_off_what_it_does_not_list(
    match: Match,
) -> None:
    await match.odds({(1, ""): {"1": "2.50", "2": "3.20", "3": "2.80"}})
    await match.odds({(1, ""): {"1": "2.40", "3": "2.95"}})
    told = {each.outcome_id: (each.odds, each.active) for each in (await market(match)).outcomes}
    assert told == {"1": ("2.40", True), "2": ("3.20", False), "3": ("2.95", True)}


async def test_markets_that_a_message_does_not_list_stay(match: Match) -> None:
    await match.odds()
    await match.odds(TOTAL, status=-1)
    assert (await market(match, 1)).status == "active"
    assert (await market(match, 18)).status == "suspended"


async def test_score_and_status_come_with_the_odds(match: Match) -> None:
    await match.odds(inside='<sport_event_status status="1" home_score="2" away_score="1"/>')
    shown = await match.shown()
    assert (shown.status, shown.score) == ("live", "2:1")


async def test_an_older_message_changes_nothing(match: Match) -> None:
    old = match.tick()
    await match.odds({(1, ""): {"1": "2.50"}}, at_ms=old + 10)
    await match.odds({(1, ""): {"1": "9.00"}}, at_ms=old)
    assert (await market(match)).outcomes[0].odds == "2.50"


async def test_producers_have_clocks_of_their_own(match: Match) -> None:
    old = match.tick()
    await match.odds({(1, ""): {"1": "2.50"}}, product=3, at_ms=old + 10)
    await match.odds({(1, ""): {"1": "2.20"}}, product=1, at_ms=old)
    assert (await market(match)).outcomes[0].odds == "2.20"


async def test_a_market_that_was_taken_over_is_not_closed_by_the_late_handover(
    match: Match,
) -> None:
    await match.odds(product=3)
    await match.odds(product=1)
    await match.odds({(1, ""): {}}, status=-2, product=3)
    assert (await market(match)).status == "active"


async def test_a_market_is_handed_over_until_the_other_producer_has_it(match: Match) -> None:
    await match.odds(product=3)
    await match.odds({(1, ""): {}}, status=-2, product=3)
    assert (await market(match)).status == "handed_over"
    await match.odds(product=1)
    assert (await market(match)).status == "active"


async def test_a_market_that_nobody_takes_over_goes_off_sale(
    match: Match, operator: Operator, platform: Platform
) -> None:
    await match.odds(product=3)
    await match.odds({(1, ""): {}}, status=-2, product=3)
    await sweep(operator)
    assert (await market(match)).status == "handed_over"
    async with platform.database("sportsbook") as database:
        await database.execute(
            "UPDATE market_clock SET applied_ms = applied_ms - 601000 WHERE event_id = $1",
            match.event_id,
        )
    await sweep(operator)

    async def off_sale() -> bool:
        return (await market(match)).status == "inactive"

    await until(off_sale, "the market is off sale")


async def test_a_bet_stop_suspends_active_markets_only(match: Match) -> None:
    await match.odds()
    await match.odds(TOTAL, status=0)
    await match.stop()
    assert (await market(match, 1)).status == "suspended"
    assert (await market(match, 18)).status == "inactive"
    await match.odds()
    assert (await market(match, 1)).status == "active"


async def test_a_bet_stop_may_take_active_markets_off_and_leaves_all_others_as_they_are(
    match: Match,
) -> None:
    await match.odds()
    for status, number in ((-1, 10), (-2, 11), (-4, 29)):
        await match.odds({(number, ""): {"1": "2.0"}}, status=status)
    await match.odds(TOTAL)
    await match.settle({"12": 'result="1"'}, market=18, specifiers=next(iter(TOTAL))[1])
    before = {each.market_id: each.status for each in (await match.shown()).markets}
    await send(match.operator, f'<bet_stop {match.head()} groups="all" market_status="0"/>')
    after = {each.market_id: each.status for each in (await match.shown()).markets}
    assert after == before | {1: "inactive"}
    assert before[18] == "settled"


async def test_a_bet_stop_holds_for_older_odds_of_a_market_that_was_not_known_when_it_came(
    match: Match,
) -> None:
    await match.odds()
    first, second = match.tick(), match.tick()
    await match.stop()
    for at_ms in (first, second):
        await match.odds(TOTAL, at_ms=at_ms)
        assert (await market(match, 18)).status == "suspended"
    await match.odds(TOTAL)
    assert (await market(match, 18)).status == "active"


async def test_a_bet_stop_before_all_odds_says_what_becomes_of_older_ones_of_its_groups(
    match: Match,
) -> None:
    old = match.tick()
    head = match.head()
    await send(match.operator, f'<bet_stop {head} groups="score" market_status="0"/>')
    await match.stop("10_min|corners")
    await match.odds(at_ms=old)
    assert (await market(match)).status == "inactive"
    other = Match(match.operator)
    old = other.tick()
    await other.stop("10_min|corners")
    await other.stop(product=3)
    await other.odds(at_ms=old)
    assert (await market(other)).status == "active"


async def test_a_bet_stop_is_forgotten_when_no_odds_before_it_are_sent_any_more(
    match: Match, operator: Operator, platform: Platform
) -> None:
    await match.stop("score")
    now = match.tick()
    match.at_ms = now - 4 * 86_400_000
    head = match.head(at_ms=match.at_ms)
    await send(operator, f'<bet_stop {head} groups="all"/>')
    await sweep(operator)
    async with platform.database("sportsbook") as database:

        async def left() -> bool:
            rows = await database.fetch(
                "SELECT groups FROM event_stop WHERE event_id = $1", match.event_id
            )
            return [row["groups"] for row in rows] == ["score"]

        await until(left, "the old stop is forgotten")


async def test_a_bet_stop_of_another_group_leaves_a_market_open(match: Match) -> None:
    await match.odds()
    await match.stop("10_min|corners")
    assert (await market(match)).status == "active"


async def test_a_market_with_results_is_not_opened_by_later_odds(match: Match) -> None:
    await match.odds()
    await match.settle({"1": 'result="1"', "2": 'result="0"', "3": 'result="0"'})
    await match.odds()
    assert (await market(match)).status == "settled"


async def test_a_fixture_change_moves_the_start_and_a_cancelled_one_closes_the_event(
    match: Match, operator: Operator
) -> None:
    await match.odds()
    start = 1_800_000_000_000
    head = match.head()
    await send(operator, f'<fixture_change {head} change_type="2" start_time="{start}"/>')
    assert (await match.shown()).starts_at == datetime.fromtimestamp(start / 1000, UTC)
    await send(operator, f'<fixture_change {match.head()} change_type="3"/>')
    assert (await match.shown()).status == "cancelled"


async def test_whoever_follows_an_event_gets_it_whole_after_every_message(
    match: Match, operator: Operator
) -> None:
    await match.odds()
    frames: asyncio.Queue[EventDetail] = asyncio.Queue()

    async def keep(message: Msg) -> None:
        frames.put_nowait(msgspec.json.decode(message.data, type=EventDetail))

    async with operator.platform.nats("gateway") as gateway:
        subscription = await gateway.subscribe(f"live.odds.{match.event_id}", cb=keep)
        await gateway.flush()
        await match.odds({(1, ""): {"1": "2.10"}})
        async with asyncio.timeout(5):
            frame = await frames.get()
        await subscription.unsubscribe()
    assert frame == await match.shown()
    assert frame.markets[0].outcomes[0].odds == "2.10"


async def test_an_unknown_event_is_not_found(match: Match, operator: Operator) -> None:
    for event_id in (match.event_id, "no event", "a.b>*"):
        with pytest.raises(NotFound):
            await operator.call(GET_EVENT, EventOf(event_id=event_id))


@pytest.mark.parametrize("token", ["", "wrong", "ÿ"])
async def test_without_the_token_nothing_is_taken_in(
    match: Match, operator: Operator, token: str
) -> None:
    with pytest.raises(Unauthenticated):
        await send(operator, f'<bet_stop {match.head()} groups="all"/>', token)
    with pytest.raises(NotFound):
        await match.shown()


@pytest.mark.parametrize("body", ["", "<odds_change", "<shop/>", '<alive product="x"/>'])
async def test_what_is_no_message_is_refused_as_invalid(
    match: Match, operator: Operator, body: str
) -> None:
    assert match
    with pytest.raises(Invalid):
        await send(operator, body)


async def test_a_message_that_comes_again_is_stored_once(
    match: Match, operator: Operator, platform: Platform
) -> None:
    body = f'<odds_change {match.head()}><odds><market id="1"><outcome id="1" odds="2.0"/></market>'
    await send(operator, f"{body}</odds></odds_change>")
    replayed = body.replace("<odds_change ", '<odds_change request_id="5" ')
    await send(operator, f"{replayed}</odds></odds_change>")
    assert await stored(platform, match) == [("odds_change", "applied")]


async def test_a_message_that_was_stored_but_not_finished_is_finished_by_the_job(
    match: Match, operator: Operator, platform: Platform
) -> None:
    body = (
        f'<odds_change {match.head()}><odds><market id="1"><outcome id="1" odds="2.0"/></market>'
        "</odds></odds_change>"
    )
    async with platform.database("sportsbook") as database:
        await database.execute(
            "INSERT INTO feed_message (message_id, content_key, kind, event_id, body, received_at)"
            " VALUES ($1, $2, 'odds_change', $3, $4, now() - interval '1 minute')",
            new_id(),
            new_id().encode(),
            match.event_id,
            body.encode(),
        )
    await sweep(operator)

    async def applied() -> bool:
        return await stored(platform, match) == [("odds_change", "applied")]

    await until(applied, "the message is applied")
    assert (await market(match)).status == "active"


async def test_a_cancellation_that_comes_again_in_other_words_reaches_no_later_bets(
    match: Match, player: Player, operator: Operator
) -> None:
    await match.odds()
    first = await player.bets(match.leg())
    at_ms = match.tick()
    told = f'event_id="{match.event_id}" timestamp="{at_ms}" start_time="{at_ms - 60_000}"'
    await send(operator, f'<bet_cancel product="1" {told}><market id="1"/></bet_cancel>')
    later = await player.bets(match.leg())
    await send(operator, f'<bet_cancel product="1" {told}><market id="1" name="1x2"/></bet_cancel>')
    statuses = [(await player.bet(each.bet_id)).status for each in (first, later)]
    assert statuses == ["cancelled", "accepted"]


async def test_what_was_worked_on_is_forgotten_after_days_and_what_failed_is_not(
    match: Match, operator: Operator, platform: Platform
) -> None:
    await match.odds()
    async with platform.database("sportsbook") as database:
        for status in ("applied", "failed"):
            await database.execute(
                "INSERT INTO feed_message (message_id, content_key, kind, event_id, body, status,"
                " received_at) VALUES ($1, $2, 'bet_stop', $3, '', $4, now() - interval '4 d')",
                f"00000001-0000-7000-8000-{new_id()[-12:]}",
                new_id().encode(),
                match.event_id,
                status,
            )
    await sweep(operator)

    async def forgotten() -> bool:
        kept = [("bet_stop", "failed"), ("odds_change", "applied")]
        return await stored(platform, match) == kept

    await until(forgotten, "the old message is forgotten")


async def test_the_last_heartbeat_of_a_producer_is_known(
    match: Match, operator: Operator, platform: Platform
) -> None:
    assert match
    at_ms = now_ms()
    for late in (0, -5_000, -60_000, 60_000):
        subscribed = 1 if late == 0 else 0
        await send(
            operator,
            f'<alive product="16" timestamp="{at_ms + late}" subscribed="{subscribed}"/>',
        )
    async with platform.database("sportsbook") as database:
        row = await database.fetchrow(
            "SELECT alive_ms, subscribed FROM producer WHERE producer = 16"
        )
    assert row is not None
    assert tuple(row) == (at_ms, True)


async def stored(platform: Platform, match: Match) -> list[tuple[str, str]]:
    async with platform.database("sportsbook") as database:
        rows = await database.fetch(
            "SELECT kind, status FROM feed_message WHERE event_id = $1 ORDER BY message_id",
            match.event_id,
        )
    return [(row["kind"], row["status"]) for row in rows]
