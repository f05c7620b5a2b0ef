"""Ten thousand messages that are not quite right: read as they say, or refused with a reason."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from svc.mesh.errors import Invalid, Refused
from svc.sportsbook import uof
from svc.sportsbook.uof_messages import BetSettlement, Message
from tests.sportsbook.match import Match, send
from tests.sportsbook.players import Player

HEAD = 'product="1" event_id="{event}" timestamp="1770000000000" request_id="7"'
TOLD = (
    (
        f'<odds_change {HEAD}><sport_event_status status="1" home_score="1" away_score="0"/>'
        '<odds><market id="18" specifiers="total=2.5|x=1" status="1" cashout_status="1">'
        '<outcome id="12" odds="1.85" probabilities="0.5" active="1"/>'
        '<outcome id="13" odds="1.95" active="0"/></market><market id="1" status="-1"/></odds>'
        "</odds_change>"
    ),
    f'<bet_stop {HEAD} groups="all|score" market_status="0"/>',
    (
        f'<bet_settlement {HEAD} certainty="2"><outcomes><market id="1" specifiers="a=1|b=2">'
        '<outcome id="1" result="1" void_factor="0.5" dead_heat_factor="0.25"/>'
        '<outcome id="2" result="0"/><outcome id="3" result="-1" void_factor="1.0"/></market>'
        "</outcomes></bet_settlement>"
    ),
    f'<rollback_bet_settlement {HEAD}><market id="1"/></rollback_bet_settlement>',
    (
        f'<bet_cancel {HEAD} start_time="1769990000000" end_time="1770000000000"><market id="1"/>'
        '<market id="18" specifiers="total=2.5"/></bet_cancel>'
    ),
    f'<rollback_bet_cancel {HEAD} end_time="1770000000000"><market id="1"/></rollback_bet_cancel>',
    f'<fixture_change {HEAD} change_type="2" start_time="1770000000000"/>',
    '<alive product="1" timestamp="1770000000000" subscribed="1"/>',
    '<snapshot_complete product="1" timestamp="1770000000000" request_id="9"/>',
    (
        '<fixtures_fixture generated_at="2026-01-01T00:00:00Z"><fixture id="{event}"'
        ' start_time="2026-06-01T18:00:00+02:00" status="not_started"><competitors>'
        '<competitor name="A" qualifier="home"/></competitors></fixture></fixtures_fixture>'
    ),
)
VALUES = (
    "", "0", "1", "-1", "2", "0.5", "1.0000001", "NaN", "Infinity", "-0", "1e9", "1E-400",
    "9" * 40, "sr:match:1", "sr:match:2|x", "a=b|a=c", "=", "|", "total=", "é", "..", "*", ">",
    "true",
    "None", "0x10", " 1", "1_0", "٣", "live", "-99", "1,5", "+1", "\u202e", "x" * 70_000,
)  # fmt: skip


MARKS = (b"<", b">", b"&", b"&lt;", b"&#0;", b"\xff", b"<!--", b'"')


def with_other_bytes(draw: random.Random, text: str) -> bytes:
    """Overwrite, drop or double a few bytes anywhere."""
    body = bytearray(text.encode())
    for _ in range(draw.randint(1, 2)):
        at = draw.randrange(len(body))
        match draw.randrange(4):
            case 0:
                body[at] = draw.randrange(256)
            case 1:
                del body[at : at + draw.randint(1, 9)]
            case 2:
                body[at:at] = body[at : at + draw.randint(1, 9)]
            case _:
                body[at:at] = draw.choice(
                    [b"<", b">", b"&", b"&lt;", b"&#0;", b"\xff", b"<!--", b'"']
                )
    return bytes(body)


def with_other_attributes(draw: random.Random, text: str) -> bytes:
    """Change, drop, swap or add attributes somewhere in the tree."""
    root = ET.fromstring(text)  # noqa: S314 - our own text
    nodes = list(root.iter())
    for _ in range(draw.randint(1, 3)):
        node, other = draw.choice(nodes), draw.choice(nodes)
        names = sorted(node.attrib) or ["id"]
        name = draw.choice(names)
        match draw.randrange(4):
            case 0:
                node.set(name, draw.choice(VALUES))
            case 1:
                node.attrib.pop(name, None)
            case 2:
                node.set(name, draw.choice(sorted(other.attrib.values()) or [""]))
            case _:
                node.set(draw.choice(["unknown", "void_factor", "request_id"]), draw.choice(VALUES))
    return ET.tostring(root)


def in_another_order(draw: random.Random, text: str) -> bytes:
    """Shuffle children, move one elsewhere, double one, or give the root another name."""
    root = ET.fromstring(text)  # noqa: S314 - our own text
    nodes = list(root.iter())
    node, target = draw.choice(nodes), draw.choice(nodes)
    children = list(node)
    draw.shuffle(children)
    node[:] = children
    if children and children[0] not in target.iter() and target not in children[0].iter():
        target.append(children[0])
    if draw.random() < 0.3:
        root.tag = draw.choice(["odds_change", "bet_settlement", "bet_cancel", "alive", "x"])
    if draw.random() < 0.3:
        root.attrib = dict(draw.sample(sorted(root.attrib.items()), len(root.attrib)))
    return ET.tostring(root)


WAYS: Sequence[Callable[[random.Random, str], bytes]] = [
    with_other_bytes,
    with_other_attributes,
    in_another_order,
]


def says(body: bytes) -> list[tuple[str, int, Decimal, Decimal]]:
    """Read a settlement's results from its XML, apart from the reader under test."""
    root = ET.fromstring(body)  # noqa: S314 - the reader has let it through
    return [
        (
            outcome.get("id", ""),
            int(outcome.get("result", "")),
            Decimal(outcome.get("void_factor", "0")),
            Decimal(outcome.get("dead_heat_factor", "1")),
        )
        for outcomes in root.findall("outcomes")
        for market in outcomes.findall("market")
        for outcome in market.findall("outcome")
    ]


def read_or_refusal(body: bytes) -> Message | str:
    """Return what a message says, or why it is refused."""
    try:
        return uof.read(body).message
    except Invalid as refusal:
        return refusal.detail


def is_a_result(result: int, void: Decimal, dead_heat: Decimal) -> bool:
    return result in {-1, 0, 1} and 0 <= void <= 1 and 0 < dead_heat <= 1


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_message_that_is_not_quite_right_is_read_as_it_says_or_refused_with_a_reason(
    way: Callable[[random.Random, str], bytes],
) -> None:
    draw = random.Random(way.__name__)
    read = refused = settled = 0
    for number in range(3_400):
        body = way(draw, TOLD[number % len(TOLD)].replace("{event}", "sr:match:7"))
        message = read_or_refusal(body)
        if isinstance(message, str):
            assert 0 < len(message) < 1_000
            refused += 1
            continue
        read += 1
        if isinstance(message, BetSettlement):
            told = [
                (outcome.id, outcome.result, outcome.void_factor, outcome.dead_heat_factor)
                for market in message.markets
                for outcome in market.outcomes
            ]
            assert told == says(body)
            assert all(is_a_result(*each[1:]) for each in told)
            settled += len(told)
    # All three happen, often: otherwise this would show nothing.
    assert min(read, refused, settled) > 50


async def test_what_is_wrong_at_the_door_settles_nothing_and_nothing_breaks(
    match: Match, player: Player
) -> None:
    await match.odds()
    placed = await player.bets(match.leg())
    draw = random.Random(7)
    for number in range(120):
        text = TOLD[number % len(TOLD)].replace("{event}", match.event_id + "9")
        with suppress(Refused):  # in form; anything else would be raised as what it is
            await send(match.operator, WAYS[number % 3](draw, text))
    assert (await player.bet(placed.bet_id)).status == "accepted"
    assert await player.cash() == 9_000
    assert (await match.shown()).markets[0].status == "active"
    await match.settle({"1": 'result="1"'})
    await player.gets_to(11_500)
