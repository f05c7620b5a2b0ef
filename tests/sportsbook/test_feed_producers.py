"""Producers that fall silent, and how they come back: against the simulator's recovery API."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from svc.mesh.clock import new_id
from svc.sportsbook.contract import MarketClosed
from svc.sportsbook.contract_offers import QUOTE_CASH_OUT, QuoteOf
from tests.sportsbook.match import Match, now_ms, send
from tests.sportsbook.players import Player, sweep
from tests.sportsbook.provider import PRODUCT, Provider, forget, is_up, provided, recovered
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(scope="module")
async def simulator(operator: Operator) -> AsyncGenerator[Provider]:
    async with provided(operator) as found:
        yield found


@pytest.fixture
async def provider(
    match: Match, simulator: Provider, platform: Platform
) -> AsyncGenerator[Provider]:
    """The producer is up and has one event on offer."""
    await forget(platform)
    await simulator.alive()
    await until(lambda: recovered(platform), "the first recovery ends")
    await simulator.odds(match.event_id, "2.50")
    yield simulator
    await simulator.faults()
    await forget(platform)


async def fall_silent(platform: Platform) -> None:
    """Let 21 seconds pass since the producer was heard of last."""
    async with platform.database("sportsbook") as database:
        await database.execute(
            "UPDATE producer SET heard_at = heard_at - interval '21 s',"
            " alive_ms = alive_ms - 21000, processed_ms = processed_ms - 21000"
            " WHERE producer = $1",
            PRODUCT,
        )


async def shown(match: Match) -> str:
    return (await match.shown()).markets[0].status


async def test_a_silent_producer_takes_its_own_markets_off_sale_and_no_others(
    match: Match, player: Player, provider: Provider, operator: Operator, platform: Platform
) -> None:
    assert provider
    other = Match(operator)
    await other.odds(product=1)
    await fall_silent(platform)
    with pytest.raises(MarketClosed) as refused:
        await player.bets(match.leg())
    assert refused.value.detail == "the source of these odds is down"
    assert (await player.bets(other.leg())).status == "accepted"
    await sweep(operator)

    async def suspended() -> bool:
        return await shown(match) == "suspended"

    await until(suspended, "the market is shown as suspended")
    assert await shown(other) == "active"


async def test_a_producer_that_comes_back_is_up_after_its_recovery_and_with_the_odds_missed(
    match: Match, player: Player, provider: Provider, platform: Platform
) -> None:
    await fall_silent(platform)
    await provider.faults(drop=1)
    await provider.client.post(
        "/simulate/send",
        json={"message": "odds_change", "event_id": match.event_id, "product": PRODUCT,
              "markets": [{"id": 1, "status": 1, "outcomes": [{"id": "1", "odds": "1.90"}]}]},
    )  # fmt: skip
    await provider.faults()
    await provider.alive()
    await until(lambda: is_up(platform), "the producer is up again")
    assert (await player.bets(match.leg("1.90"))).odds == "1.90"
    async with platform.database("sportsbook") as database:
        row = await database.fetchrow(
            "SELECT after_ms FROM recovery WHERE producer = $1 ORDER BY recovery_id DESC", PRODUCT
        )
        up = await database.fetchval("SELECT up FROM producer WHERE producer = $1", PRODUCT)
    assert row is not None
    assert now_ms() - 60_000 < row[0] < now_ms() - 20_000
    assert up is True


async def test_a_producer_stays_down_while_the_providers_limit_allows_no_recovery(
    match: Match, player: Player, provider: Provider, platform: Platform
) -> None:
    placed = await player.bets(match.leg())
    await fall_silent(platform)
    async with platform.database("sportsbook") as database:
        await database.execute(
            "INSERT INTO recovery (producer, after_ms, asked_at, completed_at)"
            " SELECT $1, extract(epoch FROM now())::bigint * 1000, now(), now()"
            " FROM generate_series(1, 20)",
            PRODUCT,
        )
        asked = await database.fetchval("SELECT max(recovery_id) FROM recovery")
        await provider.alive()
        with pytest.raises(MarketClosed):
            await player.bets(match.leg())
        quote = QuoteOf(user_id=player.user_id, bet_id=placed.bet_id)
        with pytest.raises(MarketClosed, match="source of these odds is down"):
            await player.operator.call(QUOTE_CASH_OUT, quote)
        await database.execute(
            "UPDATE recovery SET asked_at = asked_at - interval '61 minutes' WHERE producer = $1",
            PRODUCT,
        )
        await provider.alive()
        await until(lambda: is_up(platform), "the producer is up again")
        newest = await database.fetchval("SELECT max(recovery_id) FROM recovery")
    assert newest == asked + 1
    assert (await player.bets(match.leg())).status == "accepted"


async def test_a_producer_whose_messages_wait_for_too_long_is_down(
    match: Match, player: Player, provider: Provider, operator: Operator, platform: Platform
) -> None:
    await provider.faults(error_5xx=True)
    body = f'<bet_stop {match.head(PRODUCT)} groups="none"/>'
    async with platform.database("sportsbook") as database:
        await database.execute(
            "INSERT INTO feed_message (message_id, content_key, kind, event_id, body, received_at,"
            " producer) VALUES ($1, $2, 'bet_stop', $3, $4, now() - interval '21 s', $5)",
            new_id(), new_id().encode(), match.event_id, body.encode(), PRODUCT,
        )  # fmt: skip
    await sweep(operator)

    async def down() -> bool:
        return await shown(match) == "suspended"

    await until(down, "the market is shown as suspended")
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())
    await provider.faults()
    await provider.alive()
    await until(lambda: is_up(platform), "the producer is up again")
    assert (await player.bets(match.leg())).status == "accepted"


async def test_a_lost_subscription_takes_the_producer_down_until_its_recovery_ends(
    match: Match, player: Player, provider: Provider, platform: Platform, operator: Operator
) -> None:
    await provider.faults(error_5xx=1)
    await provider.alive(subscribed=0)
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())
    await until(lambda: refused_once(platform), "the API's failure is known")
    # The end of a recovery that nobody asked for brings nobody up.
    await send(
        operator,
        f'<snapshot_complete product="{PRODUCT}" timestamp="{now_ms()}" request_id="999999"/>',
    )
    with pytest.raises(MarketClosed):
        await player.bets(match.leg())
    await provider.alive()
    await until(lambda: is_up(platform), "the producer is up again")
    assert (await player.bets(match.leg())).status == "accepted"


async def refused_once(platform: Platform) -> bool:
    async with platform.database("sportsbook") as database:
        return bool(
            await database.fetchval(
                "SELECT count(*) FROM recovery WHERE producer = $1 AND refusal <> ''", PRODUCT
            )
        )


async def test_a_replay_brings_nothing_about_twice(
    match: Match, player: Player, provider: Provider, platform: Platform
) -> None:
    placed = await player.bets(match.leg())
    await provider.say(
        "bet_settlement",
        event_id=match.event_id,
        product=PRODUCT,
        markets=[{"id": 1, "outcomes": [{"id": "1", "result": 1}]}],
    )
    await player.gets_to(11_500)
    await fall_silent(platform)
    await provider.alive()
    await until(lambda: is_up(platform), "the producer is up again")
    assert (await player.bet(placed.bet_id)).payout == 2500
    assert await player.cash() == 11_500
    assert await shown(match) == "settled"


async def test_a_changed_fixture_is_asked_for_and_what_it_says_holds(
    match: Match, provider: Provider
) -> None:
    await provider.say(
        "fixtures_fixture",
        event_id=match.event_id,
        start_time="2027-03-01T18:00:00Z",
        generated_at="2026-03-01T18:00:00Z",
    )
    wrong = int(datetime(2027, 5, 1, tzinfo=UTC).timestamp() * 1000)
    await provider.say(
        "fixture_change", event_id=match.event_id, product=PRODUCT, start_time=wrong, change_type=2
    )

    async def as_in_the_fixture() -> bool:
        return (await match.shown()).starts_at == datetime(2027, 3, 1, 18, tzinfo=UTC)

    await until(as_in_the_fixture, "the fixture's own start holds")


async def test_markets_that_we_have_no_words_for_are_named_and_grouped_by_the_feed(
    match: Match, provider: Provider, operator: Operator
) -> None:
    assert provider
    await match.fixture("2027-03-01T18:00:00Z")

    await sweep(operator)

    async def named() -> bool:
        await match.odds({(61, "goalnr=2"): {"6": "1.9", "7": "3"}, (100, "from=1|to=10"): {}})
        names = {each.name for each in (await match.shown()).markets}
        return {"2nd goal of the first half", "Result from minute 1 to 10"} <= names

    await until(named, "the feed's descriptions are known")
    await match.stop("1st_half")
    shown = {each.market_id: each for each in (await match.shown()).markets}
    assert [outcome.name for outcome in shown[61].outcomes] == ["Rovers", "none"]
    assert (shown[61].status, shown[100].status) == ("suspended", "active")
