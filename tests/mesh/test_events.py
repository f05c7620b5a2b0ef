"""Events from one service's outbox to another's effect: once, whatever happens between."""

import asyncio

import pytest

from svc.mesh import letters
from svc.mesh.clock import new_id
from svc.mesh.errors import Undeclared
from svc.mesh.letters import Letter
from svc.mesh.parcels import Parcel
from svc.mesh.wire import encode
from svc.platform import streams
from tests.mesh.pair import HAPPENED, NEVER_DECLARED, NUMBERS, Happened, Pair
from tests.support.waiting import until


async def say(pair: Pair, mood: str = "good", *, event_id: str | None = None) -> int:
    """Publish an event through the outbox and return its number."""
    number = next(NUMBERS)
    async with pair.answering.context().transaction() as tx:
        await tx.publish(
            HAPPENED, Happened(number=number, mood=mood), subject=str(number), event_id=event_id
        )
    return number


async def dead_letters(pair: Pair, holds: str) -> list[Letter]:
    """Return the parked events whose body holds a text."""
    connection = await streams.connect(pair.installation, "operator")
    try:
        found, _ = await letters.listed(connection)
        whole = [await letters.read(connection, letter.id) for letter in found]
        return [letter for letter in whole if holds in letter.body]
    finally:
        await connection.close()


async def test_an_event_that_was_committed_takes_effect(pair: Pair) -> None:
    number = await say(pair)

    async def took_effect() -> bool:
        return number in await pair.effects()

    await until(took_effect)


async def test_an_event_of_a_transaction_that_was_rolled_back_never_leaves(pair: Pair) -> None:
    number = next(NUMBERS)

    async def publish_and_fail() -> None:
        async with pair.answering.context().transaction() as tx:
            await tx.publish(HAPPENED, Happened(number=number), subject="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await publish_and_fail()

    following = await say(pair)

    async def took_effect() -> bool:
        return following in await pair.effects()

    await until(took_effect)
    assert number not in await pair.effects()


async def test_events_of_one_aggregate_take_effect_in_their_order(pair: Pair) -> None:
    sent = [next(NUMBERS) for _ in range(50)]
    for number in sent:
        async with pair.answering.context().transaction() as tx:
            await tx.publish(HAPPENED, Happened(number=number), subject="one aggregate")

    async def all_there() -> bool:
        return set(sent) <= set(pair.memory.effects)

    await until(all_there)
    assert [number for number in pair.memory.effects if number in sent] == sent


async def test_the_same_event_delivered_again_has_no_second_effect(pair: Pair) -> None:
    event_id = new_id()
    number = await say(pair, event_id=event_id)

    async def took_effect() -> bool:
        return number in await pair.effects()

    await until(took_effect)
    # The same event under another message id, as after the stream's duplicate window.
    envelope = pair.answering.context().envelope(
        HAPPENED, Happened(number=number), subject="x", event_id=event_id
    )
    await pair.answering.publish_now(HAPPENED.subject, encode(envelope), new_id())
    following = await say(pair)

    async def following_took_effect() -> bool:
        return following in await pair.effects()

    await until(following_took_effect)
    assert (await pair.effects()).count(number) == 1


async def test_what_an_unavailable_dependency_stops_comes_again_until_it_works(pair: Pair) -> None:
    number = await say(pair, "later")

    async def took_effect() -> bool:
        return number in await pair.effects()

    await until(took_effect)
    assert pair.memory.attempts.count(number) == 2
    assert (await pair.effects()).count(number) == 1


async def test_a_refused_event_is_parked_at_once_with_its_cause(pair: Pair) -> None:
    number = await say(pair, "refused")

    async def parked() -> bool:
        letters = await dead_letters(pair, f'"number":{number},')
        return any("rule forbids" in found.cause for found in letters)

    await until(parked)
    assert pair.memory.attempts.count(number) == 1
    assert number not in await pair.effects()


async def test_a_poison_event_is_parked_after_its_attempts_and_holds_up_nobody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc.mesh.endings.BACKOFF_S", (0.02,))
    number = await say(pair, "poison")
    healthy = await say(pair)

    async def took_effect() -> bool:
        return healthy in await pair.effects()

    async def parked() -> list[Letter]:
        letters = await dead_letters(pair, f'"number":{number},')
        return [letter for letter in letters if "cannot be worked on" in letter.cause]

    await until(took_effect)
    parked_ones = await until(parked)
    assert parked_ones[-1].attempts == 6
    assert parked_ones[-1].stream == "WALLET"
    assert pair.memory.attempts.count(number) == 6
    assert number not in await pair.effects()


@pytest.mark.parametrize("body", ["not json", '{"subject":' + "[" * 5_000])
async def test_what_is_no_event_at_all_is_parked(pair: Pair, body: str) -> None:
    await pair.answering.publish_now(HAPPENED.subject, body.encode(), new_id())

    async def parked() -> bool:
        letters = await dead_letters(pair, body)
        return any("not a CloudEvent" in found.cause for found in letters)

    await until(parked)


async def test_what_is_no_event_is_parked_even_among_those_that_share_a_transaction(
    pair: Pair,
) -> None:
    await waiting_together(pair, [])
    events = [(HAPPENED, Happened(number=next(NUMBERS))) for _ in range(20)]
    bodies = [
        encode(pair.answering.context().envelope(event, data, subject=str(data.number)))
        for event, data in events
    ]
    bodies.insert(10, b"nothing of the kind")
    bodies.insert(15, b'{"type":"HappenedEvent","subject":"half of one"}')
    await pair.answering.publish_all([Parcel(HAPPENED.subject, body, new_id()) for body in bodies])

    async def all_there() -> bool:
        return {data.number for _, data in events} <= set(await pair.effects())

    async def parked() -> bool:
        return bool(
            await dead_letters(pair, "nothing of the kind")
            and await dead_letters(pair, "half of one")
        )

    await until(all_there)
    await until(parked)


async def test_an_event_that_does_not_concern_the_service_leaves_no_trace(pair: Pair) -> None:
    number = await say(pair, "indifferent")
    following = await say(pair)

    async def took_effect() -> bool:
        return following in await pair.effects()

    await until(took_effect)
    assert number not in pair.memory.attempts


async def test_an_event_that_is_not_declared_is_refused(pair: Pair) -> None:
    with pytest.raises(Undeclared):
        async with pair.answering.context().transaction() as tx:
            await tx.publish(NEVER_DECLARED, Happened(number=1), subject="x")


async def test_the_outbox_of_a_stopped_relay_leaves_with_the_next_start(pair: Pair) -> None:
    assert pair.answering.relay is not None
    await pair.answering.relay.drain()
    number = await say(pair)
    assert number not in await pair.effects()

    await pair.answering.relay.restart()

    async def took_effect() -> bool:
        return number in await pair.effects()

    await until(took_effect)


async def test_an_event_in_work_when_the_service_stops_is_finished_first(pair: Pair) -> None:
    number = await say(pair, "slow")

    async def in_work() -> bool:
        return number in pair.memory.attempts

    await until(in_work)
    stopping = asyncio.create_task(pair.asking.stop())
    pair.memory.hold.set()
    await stopping

    assert number in pair.memory.effects


async def waiting_together(pair: Pair, moods: list[str]) -> list[int]:
    """Publish events that all wait when the service begins to hear; return their numbers."""
    # The first makes the handler known: only then does it share transactions.
    first = await say(pair)

    async def known() -> bool:
        return first in await pair.effects()

    await until(known)
    assert pair.answering.relay is not None
    await pair.answering.relay.drain()
    numbers = [await say(pair, mood) for mood in moods]
    await pair.answering.relay.restart()
    return numbers


async def test_events_that_wait_at_the_same_time_share_a_transaction(pair: Pair) -> None:
    numbers = await waiting_together(pair, ["good"] * 40)

    async def all_there() -> bool:
        return set(numbers) <= set(await pair.effects())

    await until(all_there)
    async with pair.asking.context().transaction() as tx:
        transactions = await tx.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM effect WHERE number = ANY($1)", numbers
        )
    assert transactions < len(numbers)
    assert sorted(pair.memory.effects[-len(numbers) :]) == numbers


async def test_one_that_fails_among_those_that_share_a_transaction_stops_no_other(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc.mesh.endings.BACKOFF_S", (0.02,))
    moods = [*["good"] * 10, "poison", *["good"] * 10, "refused", *["good"] * 10, "later"]
    numbers = await waiting_together(pair, moods)
    good = [number for number, mood in zip(numbers, moods, strict=True) if mood != "poison"]
    good.remove(numbers[21])

    async def all_there() -> bool:
        return set(good) <= set(await pair.effects())

    async def parked() -> bool:
        poison = await dead_letters(pair, f'"number":{numbers[10]},')
        refused = await dead_letters(pair, f'"number":{numbers[21]},')
        return bool(poison and refused)

    await until(all_there)
    await until(parked)
    effects = await pair.effects()
    assert sorted(number for number in effects if number in numbers) == good
