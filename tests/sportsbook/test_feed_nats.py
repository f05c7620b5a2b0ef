"""The feed over NATS: its AMQP keys as subjects, the same effects, refusals in dead letters."""

from collections.abc import AsyncGenerator
from typing import cast

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from svc.outside.uof import routing_key
from tests.sportsbook.match import Match
from tests.sportsbook.players import Player
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture
async def bridge(platform: Platform) -> AsyncGenerator[Client]:
    """NATS as a bridge sees it that copies the feed's own exchange."""
    async with platform.nats("betradar") as connection:
        yield connection


async def copy(bridge: Client, body: str) -> None:
    """Publish a message under its key, and wait until it is stored."""
    await bridge.jetstream().publish("uof." + routing_key(body.encode()), body.encode())


def odds(match: Match, price: str) -> str:
    return (
        f'<odds_change {match.head()}><odds><market id="1" status="1">'
        f'<outcome id="1" odds="{price}"/></market></odds></odds_change>'
    )


async def test_a_message_on_its_subject_does_what_it_does_at_the_door(
    match: Match, player: Player, bridge: Client
) -> None:
    await match.odds()
    first = odds(match, "3.00")
    for body in (first, odds(match, "3.10"), first):
        await copy(bridge, body)

    async def shown() -> bool:
        return (await match.shown()).markets[0].outcomes[0].odds == "3.10"

    await until(shown, "the newest odds are shown")
    placed = await player.bets(match.leg("3.10"))
    await copy(
        bridge,
        f'<bet_settlement {match.head()} certainty="1"><outcomes><market id="1">'
        '<outcome id="1" result="1"/></market></outcomes></bet_settlement>',
    )
    assert (await player.comes_to(placed.bet_id, "settled")).payout == 3100


async def test_messages_about_one_event_are_worked_on_in_the_order_in_which_they_came(
    match: Match, bridge: Client, operator: Operator, platform: Platform
) -> None:
    """Were the short stop faster than the long odds before it, they would be ignored as older."""
    totals = {(18, f"total={line}.5"): {"12": "1.90", "13": "1.90"} for line in range(40)}
    for each in [match, *(Match(operator) for _ in range(9))]:
        await each.odds(totals)
        rows = "".join(
            f'<market id="18" specifiers="{line}" status="1"><outcome id="12" odds="1.8"/></market>'
            for _, line in totals
        )
        odds = f"<odds_change {each.head()}><odds>{rows}</odds></odds_change>"
        for body in (odds, f'<bet_stop {each.head()} groups="all"/>'):
            await bridge.publish("uof." + routing_key(body.encode()), body.encode())
        async with platform.database("sportsbook") as database:

            async def done() -> list[str]:
                rows = await database.fetch(
                    "SELECT kind, status FROM feed_message WHERE event_id = $1",
                    each.event_id,  # noqa: B023 -- as above
                )
                return [row["status"] for row in rows] if len(rows) == 3 else []

            assert await until(done, "all three are worked on") == ["applied"] * 3


async def test_what_is_refused_is_a_dead_letter_with_the_reason(
    match: Match, bridge: Client, operator: Operator
) -> None:
    assert match
    subject = f"uof.hi.-.live.odds_change.1.{match.event_id}.-"
    stored = await bridge.jetstream().publish(subject, b"<odds_change")
    stream = operator.connection.jetstream()

    async def cause() -> str:
        try:
            found = await stream.get_last_msg("DEAD", f"dead.sportsbook.uof.{stored.seq}")
        except NotFoundError:
            return ""
        headers = cast("dict[str, str]", found.headers or {})
        return headers.get("Dead-Cause", "")

    assert "well-formed XML" in await until(cause, "the message is parked")


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ('<odds_change product="1" event_id="sr:match:1234" timestamp="1"/>',
         "hi.-.live.odds_change.1.sr:match.1234.-"),
        ('<odds_change product="3" event_id="sr:match:1234" timestamp="1"/>',
         "hi.pre.-.odds_change.1.sr:match.1234.-"),
        ('<fixture_change product="3" event_id="sr:match:9" timestamp="1"/>',
         "hi.pre.-.fixture_change.1.sr:match.9.-"),
        ('<alive product="1" timestamp="1"/>', "-.-.-.alive.-.-.-.-"),
        ('<snapshot_complete product="1" timestamp="1" request_id="3"/>',
         "-.-.-.snapshot_complete.-.-.-.-"),
    ],
)  # fmt: skip
def test_keys_are_those_of_the_feeds_exchange(message: str, key: str) -> None:
    assert routing_key(message.encode()) == key
