"""The feed over AMQP: read from the simulator's exchange, over real sockets."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

import pytest
from nats.js.errors import NotFoundError

from svc.mesh.clock import new_id
from svc.mesh.errors import Unavailable
from svc.outside.amqp import Exchange
from svc.sportsbook import feed_recovery, uof
from svc.sportsbook.feed_amqp import Intake, Standing
from tests.sportsbook.exchange import VHOST, Reading, price, reading
from tests.sportsbook.house_door import Door
from tests.sportsbook.match import Match, now_ms, send
from tests.sportsbook.players import Player
from tests.sportsbook.provider import PRODUCT, Provider, forget, is_up, provided, recovered
from tests.support.mesh import Operator, nobodys_work
from tests.support.platform import Platform
from tests.support.waiting import until

HOSTILE = (
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    '<odds_change product="14" event_id="{}" timestamp="1">&e;</odds_change>'
)


@pytest.fixture(scope="module")
async def simulator(operator: Operator) -> AsyncGenerator[Provider]:
    async with provided(operator, amqp_port=0) as found:
        yield found


@pytest.fixture(scope="module")
async def address(simulator: Provider, platform: Platform) -> str:
    port = (await exchange(simulator))["port"]
    return f"amqp://{platform.settings['BETRADAR_TOKEN']}@127.0.0.1:{port}/{VHOST}"


@pytest.fixture(scope="module")
async def instance(platform: Platform, address: str) -> AsyncGenerator[Reading]:
    """An instance of the sportsbook that reads the exchange."""
    async with reading(platform, address) as found:
        await found.connects()
        yield found


@pytest.fixture
async def provider(
    match: Match, simulator: Provider, instance: Reading, platform: Platform
) -> AsyncGenerator[Provider]:
    """The producer is up, and all that it says goes to the exchange."""
    assert match
    await forget(platform)
    await simulator.faults()
    await instance.connects()
    await simulator.alive()
    await until(lambda: recovered(platform), "the first recovery ends")
    yield simulator
    await simulator.faults()
    await forget(platform)


async def exchange(simulator: Provider) -> dict[str, int]:
    return (await simulator.client.get("/simulate/exchange")).json()


async def all_acknowledged(simulator: Provider) -> bool:
    return not (await exchange(simulator))["unacknowledged"]


async def stored(platform: Platform, match: Match) -> int:
    async with platform.database("sportsbook") as database:
        return await database.fetchval(
            "SELECT count(*) FROM feed_message WHERE event_id = $1", match.event_id
        )


def odds_change(match: Match, odds: str) -> dict[str, object]:
    market = {"id": 1, "status": 1, "outcomes": [{"id": "1", "odds": odds}]}
    about = {"event_id": match.event_id, "product": PRODUCT}
    return {"message": "odds_change", "markets": [market], **about}


async def test_a_message_on_the_exchange_moves_a_price_at_the_public_door_and_posted_again_nothing(
    match: Match, provider: Provider, door: Door, platform: Platform, operator: Operator
) -> None:
    await match.odds(product=PRODUCT)
    await provider.odds(match.event_id, "3.25")

    async def at_the_door() -> bool:
        answer = await door.client.get(f"/v1/events/{match.event_id}")
        return answer.json()["markets"][0]["outcomes"][0]["odds"] == "3.25"

    await until(at_the_door, "the new price is shown")
    before = await stored(platform, match)
    sent = (await provider.client.get("/simulate/sent", params={"event_id": match.event_id})).json()
    await send(operator, sent["items"][-1]["xml"])
    assert await stored(platform, match) == before
    await until(lambda: all_acknowledged(provider), "the exchange may forget it")


async def test_hostile_xml_is_parked_with_its_cause_and_not_sent_again(
    match: Match, provider: Provider, operator: Operator
) -> None:
    hostile = HOSTILE.format(match.event_id)
    await provider.client.post("/simulate/send", json={"message": "raw", "xml": hostile})
    number = int.from_bytes(sha256(hostile.encode()).digest()[:8])
    stream = operator.connection.jetstream()

    async def cause() -> str:
        try:
            found = await stream.get_last_msg("DEAD", f"dead.sportsbook.amqp.{number}")
        except NotFoundError:
            return ""
        assert found.data == hostile.encode()
        return cast("dict[str, str]", found.headers or {}).get("Dead-Cause", "")

    assert "entities" in (await until(cause, "the message is parked")).lower()
    await until(lambda: all_acknowledged(provider), "the message is acknowledged")
    await provider.odds(match.event_id, "2.20")

    async def shown() -> bool:
        return await price(match) == "2.20"

    await until(shown, "what came after is taken in")


async def test_a_lost_connection_is_made_again_and_what_was_missed_is_recovered(
    match: Match, player: Player, provider: Provider, instance: Reading, platform: Platform
) -> None:
    await provider.odds(match.event_id, "2.50")
    await provider.alive()
    await until(lambda: all_acknowledged(provider), "all is taken in")
    assert await is_up(platform)
    async with platform.database("sportsbook") as database:
        good_ms = await database.fetchval(
            "SELECT processed_ms FROM producer WHERE producer = $1", PRODUCT
        )
    before = int(str((await instance.health())["failures"]))
    await provider.faults(drop=1)
    await provider.client.post("/simulate/exchange/cut")
    await provider.client.post("/simulate/send", json=odds_change(match, "1.80"))
    await instance.connects(again_after=before)
    assert not await is_up(platform)

    await provider.alive()

    await until(lambda: is_up(platform), "the producer is up again")
    async with platform.database("sportsbook") as database:
        after_ms = await database.fetchval(
            "SELECT after_ms FROM recovery WHERE producer = $1 ORDER BY recovery_id DESC", PRODUCT
        )
    assert after_ms == good_ms
    assert (await player.bets(match.leg("1.80"))).odds == "1.80"


async def test_several_instances_read_each_message_and_it_counts_once(
    match: Match, player: Player, provider: Provider, platform: Platform, address: str
) -> None:
    async with reading(platform, address) as second:
        await second.connects()
        await provider.alive()
        await until(lambda: is_up(platform), "the producer is up again")
        assert (await exchange(provider))["readers"] == 2
        await provider.odds(match.event_id, "2.50")
        await until(lambda: all_acknowledged(provider), "both have taken it in")
        placed = await player.bets(match.leg())
        await provider.say(
            "bet_settlement",
            event_id=match.event_id,
            product=PRODUCT,
            markets=[{"id": 1, "outcomes": [{"id": "1", "result": 1}]}],
        )
        await player.comes_to(placed.bet_id, "settled")
        await player.gets_to(11_500)
        assert await stored(platform, match) == 2


async def test_without_the_exchange_or_let_in_the_service_serves_and_its_health_says_why(
    match: Match, platform: Platform
) -> None:
    found = Exchange("unifiedfeed", "the right token", "/unifiedfeed/")
    at = f"127.0.0.1:{found.port}/{VHOST}"
    try:
        async with reading(platform, f"amqp://the%20right%20token@{at}") as early:
            await early.says("Connect call failed")
            await match.odds()
            assert await price(match) == "2.50"
            await found.start()
            await early.connects()
        async with reading(platform, f"amqp://the+wrong+token@{at}") as refused:
            await refused.says("refuses the user")
    finally:
        await found.stop()


async def test_an_interruption_takes_down_what_is_up_and_nothing_is_up_by_an_older_recovery(
    match: Match, provider: Provider, instance: Reading, platform: Platform
) -> None:
    await provider.faults(error_5xx=True)
    await feed_recovery.interrupted(instance.runtime.context())
    assert not await is_up(platform)
    async with platform.database("sportsbook") as database:
        number = await database.fetchval(
            "SELECT max(recovery_id) FROM recovery WHERE producer = $1", PRODUCT
        )
    body = f'product="{PRODUCT}" timestamp="{now_ms()}" request_id="{number}"'
    await send(match.operator, f"<snapshot_complete {body}/>")
    assert not await is_up(platform)


@dataclass
class Handed:
    """A message as the library hands it over."""

    text: str
    routing_key: str
    acknowledged: bool = False

    @property
    def body(self) -> bytes:
        return self.text.encode()

    async def ack(self) -> None:
        self.acknowledged = True


async def so(message: Handed) -> bool:
    return message.acknowledged


async def test_an_alive_counts_only_after_what_came_before_it(
    match: Match, provider: Provider, instance: Reading, platform: Platform
) -> None:
    assert provider
    await match.odds(product=PRODUCT)
    intake = Intake(instance.runtime.context())
    stop = Handed(f'<bet_stop {match.head(PRODUCT)} groups="all"/>', "hi.-.live.bet_stop.1.x.1.-")
    alive = Handed(
        f'<alive product="{PRODUCT}" timestamp="{now_ms()}" subscribed="1"/>', "-.-.-.alive.-.-.-.-"
    )
    async with platform.database("sportsbook") as database, database.transaction():
        await database.execute("SELECT FROM event WHERE event_id = $1 FOR UPDATE", match.event_id)
        await intake.take(stop)
        taking = asyncio.create_task(intake.take(alive))
        await asyncio.wait({taking}, timeout=0.2)
        assert not stop.acknowledged
        assert not taking.done()
    await taking
    assert stop.acknowledged
    assert alive.acknowledged


async def test_a_connection_that_could_not_be_made_is_closed() -> None:
    """Else it tries to close itself when it is collected, in the middle of anything."""
    from svc.sportsbook.feed_amqp_link import Connection, Link

    with pytest.raises(Unavailable):
        await Link("amqp://token@127.0.0.1:1/", Standing(), nobodys_work()).read()

    left = [one for one in gc.get_objects() if isinstance(one, Connection)]
    assert [one for one in left if not one.is_closed and one.transport is None] == []


async def test_a_message_waits_for_the_one_before_it_about_its_event_and_for_no_other_events(
    match: Match, provider: Provider, instance: Reading, platform: Platform
) -> None:
    assert provider
    await match.odds(product=PRODUCT)
    other = Match(match.operator)
    intake = Intake(instance.runtime.context())
    market = '<odds><market id="1"><outcome id="1" odds="2.0"/></market></odds>'
    told = f"<odds_change {match.head(PRODUCT)}>{market}</odds_change>"
    odds = Handed(told, "hi.-.live.odds_change.1.x.1.-")
    stop = Handed(f'<bet_stop {match.head(PRODUCT)} groups="all"/>', "hi.-.live.bet_stop.1.x.1.-")
    besides = Handed(f"<bet_stop {other.head(PRODUCT)}/>", "hi.-.live.bet_stop.1.x.2.-")
    async with platform.database("sportsbook") as database:
        held = database.transaction()
        await held.start()
        await database.execute(
            "INSERT INTO feed_message (message_id, content_key, kind, body, received_at)"
            " VALUES ($1, $2, 'odds_change', '', now())",
            new_id(),
            uof.read(odds.body).content_key,
        )
        for message in (odds, stop, besides):
            await intake.take(message)
        await until(lambda: so(besides), "the other event's message is worked on")
        assert not stop.acknowledged
        await held.rollback()
        await intake.rest()
        assert odds.acknowledged
        assert stop.acknowledged
        rows = await database.fetch(
            "SELECT status FROM feed_message WHERE event_id = $1", match.event_id
        )
    assert [row["status"] for row in rows] == ["applied"] * 3


def test_who_reads_no_exchange_does_not_load_its_library() -> None:
    program = "import sys, svc.sportsbook.service; sys.exit('aio_pika' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
