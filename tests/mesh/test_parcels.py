"""Many events in one message: each takes effect, fails and is parked for itself."""

import json

import msgspec
import pytest
from nats.aio.client import Client

from svc.mesh import desk, letters
from svc.mesh.clock import new_id
from svc.mesh.contract import Event
from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import (
    APART_MAX,
    BATCH_TYPE,
    Parcel,
    bodies,
    counted_id,
    packed,
    parcels_of,
    unpacked,
)
from svc.mesh.wire import encode
from svc.platform import operate
from tests.mesh.pair import HAPPENED, NUMBERS, Happened, Pair
from tests.mesh.test_letters import number_of
from tests.support.waiting import until

TOGETHER = Event("HappenedEvent", "wallet", Happened, "Something happened.", together=True)


def events_of(pair: Pair, moods: list[str]) -> list[CloudEvent[Happened]]:
    """Return an event for each mood, of aggregates of their own."""
    context, row_id = pair.answering.context(), new_id()
    return [
        context.envelope(
            HAPPENED, Happened(number=next(NUMBERS), mood=mood), subject=f"many {place}",
            event_id=counted_id(row_id, place),
        )
        for place, mood in enumerate(moods)
    ]  # fmt: skip


async def publish(pair: Pair, events: list[CloudEvent[Happened]]) -> list[int]:
    """Publish events as one message, under an id of its own; return their numbers."""
    await pair.answering.publish_all(
        [Parcel(HAPPENED.subject, encode(events), new_id(), len(events))]
    )
    return [event.data.number for event in events]


async def letters_of(client: Client, numbers: list[int]) -> list[letters.Letter]:
    """Return the letters of these events, by their ids."""
    listed, _ = await letters.listed(client, "casino")
    whole = [await letters.read(client, one.id) for one in listed]
    wanted = [f'"number":{number},' for number in numbers]
    found = [one for one in whole if any(text in one.body for text in wanted)]
    return sorted(found, key=lambda one: one.id)


async def took_effect(pair: Pair, numbers: list[int]) -> None:
    """Wait until all have."""

    async def all_there() -> bool:
        return set(numbers) <= set(await pair.effects())

    await until(all_there)


def test_few_events_leave_as_messages_of_their_own(pair: Pair) -> None:
    events = events_of(pair, ["good"] * APART_MAX)
    parcels = parcels_of(TOGETHER, new_id(), events)

    assert [parcel.message_id for parcel in parcels] == [event.id for event in events]
    assert [parcel.body for parcel in parcels] == [encode(event) for event in events]
    assert "Content-Type" not in parcels[0].headers()


def test_many_leave_as_one_message_that_says_so(pair: Pair) -> None:
    events, row_id = events_of(pair, ["good"] * (APART_MAX + 1)), new_id()
    [parcel] = parcels_of(TOGETHER, row_id, events)

    assert (parcel.message_id, parcel.events) == (row_id, APART_MAX + 1)
    assert parcel.headers() == {
        "Nats-Msg-Id": row_id, "Nats-Expected-Stream": "WALLET", "Content-Type": BATCH_TYPE,
    }  # fmt: skip
    assert bodies(parcel.body) == [encode(event) for event in events]


def test_events_whose_contract_does_not_say_so_never_share_a_message(pair: Pair) -> None:
    events = events_of(pair, ["good"] * 100)

    assert len(parcels_of(HAPPENED, new_id(), events)) == 100


def test_what_was_packed_into_a_row_comes_out_of_it() -> None:
    parcels = [Parcel(HAPPENED.subject, b"{}", new_id()), Parcel(HAPPENED.subject, b"[]", new_id())]

    assert unpacked(HAPPENED.subject, packed(parcels)) == parcels


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"[]", b"[1,", b"[" * 5_000])
def test_what_is_no_batch_is_one_body_as_it_is(body: bytes) -> None:
    assert bodies(body) == [body]


def test_ids_of_events_of_a_row_differ_from_each_other_and_from_other_rows() -> None:
    ids = {counted_id(row, place) for row in (new_id(), new_id()) for place in range(1_000)}

    assert len(ids) == 2_000
    assert {one[14] for one in ids} == {"7"}


async def test_all_events_of_a_message_take_effect_once(pair: Pair) -> None:
    events = events_of(pair, ["good", "indifferent"] * 20)
    numbers = await publish(pair, events)
    await publish(pair, events)
    following = await publish(pair, events_of(pair, ["good"] * 3))

    await took_effect(pair, numbers[::2] + following)
    effects = await pair.effects()
    assert [effects.count(number) for number in numbers] == [1, 0] * 20


async def test_one_that_is_refused_is_parked_alone_and_can_be_replayed(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = await publish(pair, events_of(pair, ["good", "refused", "good", "refused"]))

    async def parked() -> list[letters.Letter]:
        mine = await letters_of(client, numbers)
        return mine if len(mine) == 2 else []

    first, second = await until(parked)
    await took_effect(pair, numbers[::2])

    assert first.sequence == second.sequence
    assert [one.id for one in (first, second)] == [
        f"casino.wallet.{first.sequence}-{place}" for place in (2, 4)
    ]
    assert number_of(first) == numbers[1]
    handlers = pair.asking.service.event_handlers

    async def healed(event: CloudEvent[Happened], tx: object, _: object) -> None:
        await tx.execute(  # pyright: ignore[reportAttributeAccessIssue] -- a Tx
            "INSERT INTO effect (number) VALUES ($1)", event.data.number
        )

    monkeypatch.setitem(handlers, HAPPENED.type, healed)
    settled = await operate.ask(client, desk.dead_replay("casino"), desk.Which(id=first.id))
    await operate.ask(client, desk.dead_drop("casino"), desk.Which(id=second.id))
    effects = await pair.effects()
    assert settled.outcome == "ok"
    assert [effects.count(number) for number in numbers] == [1, 1, 1, 0]


async def test_one_that_fails_for_now_comes_again_and_the_others_stay_done(pair: Pair) -> None:
    numbers = await publish(pair, events_of(pair, ["good"] * 5 + ["later"] + ["good"] * 5))

    await took_effect(pair, numbers)

    effects = await pair.effects()
    assert [effects.count(number) for number in numbers] == [1] * 11
    assert pair.memory.attempts.count(numbers[5]) == 2


async def test_a_poisoned_one_is_parked_after_its_attempts(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc.mesh.endings.BACKOFF_S", (0.02,))
    numbers = await publish(pair, events_of(pair, ["poison"] + ["good"] * 20))

    async def parked() -> list[letters.Letter]:
        return await letters_of(client, numbers)

    [letter] = await until(parked)

    assert letter.id.endswith("-1")
    assert letter.attempts == 6
    await took_effect(pair, numbers[1:])
    assert json.loads(msgspec.json.encode(letter))["stream"] == "WALLET"
