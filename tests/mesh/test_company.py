"""Ordinary calls of one moment share messages, nothing else: each is answered when it is done."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from svc.mesh import each
from svc.mesh.breaker import CLOSED, OPEN
from svc.mesh.connection import HEADERS_MAX
from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.endpoint import TURN_NS, Endpoint
from svc.mesh.errors import DeclarationError, Overloaded, RemoteBug, TimedOut
from svc.mesh.runtime import Runtime
from svc.mesh.wire import BATCH_HEADER, PLACES_HEADER, encode
from tests.mesh.pair import (
    ECHO,
    MANY,
    NARROW,
    NARROW_ALONE,
    PATIENT_MS,
    Answer,
    Ask,
    Memory,
    Pair,
    TooMuch,
    answering,
    settings_of,
)
from tests.support.waiting import until


async def ask(pair: Pair, call: Call[Ask, Answer], *asked: Ask) -> list[Any]:
    """Ask all at the same time; return answers and failures in order."""
    context = pair.asking.context()
    calls = [context.call(call, one, deadline_ms=PATIENT_MS) for one in asked]
    return await asyncio.gather(*calls, return_exceptions=True)


def endpoint_of(pair: Pair, call: Call[Ask, Answer]) -> Endpoint:
    """Return where a call is answered."""
    return next(one for one in pair.answering.endpoints if one.call is call)


def first_do(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, before: Callable[[str], Awaitable[object]]
) -> None:
    """Let the handler of ECHO do this first; what it returns, if anything, is the reply."""
    served = endpoint_of(pair, ECHO)
    handler = served.handler

    async def handle(request: Ask, context: Context) -> Any:
        return await before(request.text) or await handler(request, context)

    monkeypatch.setattr(served, "handler", handle)


@asynccontextmanager
async def answers_to(pair: Pair) -> AsyncGenerator[list[Msg]]:
    """Collect the messages that answer calls meanwhile; at the end all of them are there."""
    got: list[Msg] = []

    async def keep(message: Msg) -> None:
        got.append(message)

    connection = pair.asking.connection
    subscription = await connection.subscribe(pair.asking.caller.inbox + ">", cb=keep)
    await connection.flush()
    yield got
    await subscription.drain()


def texts(count: int) -> list[Ask]:
    """Return so many requests."""
    return [Ask(text=str(number)) for number in range(count)]


async def test_calls_of_one_moment_share_messages_of_a_few(pair: Pair) -> None:
    sent = pair.asking.caller.counter

    answers = await ask(pair, ECHO, *texts(64))

    assert [answer.text for answer in answers] == [str(number) for number in range(64)]
    assert pair.asking.caller.counter - sent == 2
    counted = endpoint_of(pair, ECHO).stats
    assert (counted.requests, counted.outcomes) == (64, {"ok": 64})


async def test_calls_that_go_alone_share_none(pair: Pair) -> None:
    sent = pair.asking.caller.counter

    answers = await ask(pair, NARROW_ALONE, *texts(10))

    assert [answer.text for answer in answers] == [str(number) for number in range(10)]
    assert pair.asking.caller.counter - sent == 10


def test_a_call_cannot_go_alone_and_be_batchable() -> None:
    with pytest.raises(DeclarationError, match="alone"):
        Call("rpc.wallet.v1.x", Ask, Answer, alone=True, batchable=True)


async def test_many_calls_are_divided_among_all_instances(pair: Pair) -> None:
    memory = Memory()
    second = Runtime(answering(memory), settings_of(pair.installation))
    await second.start()
    try:
        # The broker draws for each of 60 messages: that one instance gets none is not to be seen.
        answers = [one for _ in range(20) for one in await ask(pair, ECHO, *texts(96))]
    finally:
        await second.stop()

    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(memory.served) + len(pair.memory.served) == 1_920
    assert memory.served
    assert pair.memory.served


async def test_quick_calls_do_not_wait_for_a_slow_one_of_their_message(pair: Pair) -> None:
    context = pair.asking.context()
    slow = asyncio.ensure_future(context.call(ECHO, Ask(text="slow", sleep_s=60)))
    quick = [context.call(ECHO, one, deadline_ms=PATIENT_MS) for one in texts(10)]

    answers = await asyncio.gather(*quick)

    assert [answer.text for answer in answers] == [str(number) for number in range(10)]
    assert pair.memory.served[0] == "slow"
    assert not slow.done()
    with pytest.raises(TimedOut):
        await slow


async def test_answers_find_their_calls_in_whatever_order_they_are_done(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: dict[str, asyncio.Event] = {}

    async def wait(text: str) -> None:
        waiting[text] = asyncio.Event()
        await waiting[text].wait()

    first_do(pair, monkeypatch, wait)
    asked = asyncio.ensure_future(ask(pair, ECHO, *texts(4)))

    async def all_wait() -> bool:
        return len(waiting) == 4

    await until(all_wait)
    for text in ("2", "3", "1", "0"):  # all in one turn, so they leave in one message
        waiting[text].set()

    assert [answer.text for answer in await asked] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("seed", range(8))
async def test_however_long_each_takes_each_gets_its_own_answer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    turns = random.Random(seed)

    async def wait(text: str) -> None:
        for _ in range(turns.choice((0, 0, 1, 2, 5))):
            await asyncio.sleep(0)
        if turns.random() < 0.1:
            raise TooMuch("no more", text=text)

    first_do(pair, monkeypatch, wait)

    for count in (*[2] * 20, *[3] * 20, 100):
        answers = await ask(pair, ECHO, *texts(count))
        told = [one.members["text"] if isinstance(one, TooMuch) else one.text for one in answers]
        assert told == [str(number) for number in range(count)]


async def test_each_of_a_message_has_its_own_deadline_and_is_stopped_at_it(pair: Pair) -> None:
    context = pair.asking.context()
    hasty = context.call(ECHO, Ask(text="hasty", sleep_s=60), deadline_ms=100)
    patient = context.call(ECHO, Ask(text="patient", sleep_s=0.5), deadline_ms=PATIENT_MS)

    late, answer = await asyncio.gather(hasty, patient, return_exceptions=True)

    assert isinstance(late, TimedOut)
    assert isinstance(answer, Answer)
    assert pair.memory.cancelled == ["hasty"]


async def test_what_a_callee_never_answers_fails_alone(pair: Pair) -> None:
    context = pair.asking.context()
    lost = asyncio.ensure_future(context.call(ECHO, Ask(text="lost", sleep_s=60)))
    answer = await context.call(ECHO, Ask(text="quick"), deadline_ms=PATIENT_MS)
    served = endpoint_of(pair, ECHO)
    for task in served.workers:
        task.cancel()

    with pytest.raises(TimedOut):
        await lost
    assert answer.text == "quick"


async def test_of_a_message_that_finds_no_room_only_what_has_none_is_refused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = endpoint_of(pair, NARROW)
    monkeypatch.setattr(narrow, "queue_max", 4)

    answers = await ask(pair, NARROW, *(Ask(text=str(n), sleep_s=0.01) for n in range(10)))

    # One is served and waits, four wait for it, five find the queue full.
    assert [type(answer) for answer in answers] == [Answer] * 5 + [Overloaded] * 5
    assert pair.memory.served == ["0", "1", "2", "3", "4"]
    assert (narrow.stats.shed, narrow.queued, len(narrow.queue)) == (5, 0, 0)


async def test_a_message_that_waits_takes_room_for_each_of_its_calls(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = endpoint_of(pair, NARROW)
    monkeypatch.setattr(narrow, "queue_max", 4)
    first = asyncio.ensure_future(ask(pair, NARROW, Ask(text="first", sleep_s=0.2)))
    await pair.memory.serving.wait()
    second = asyncio.ensure_future(ask(pair, NARROW, *texts(4)))

    async def waits() -> bool:
        return narrow.queued == 4

    await until(waits)
    third = await ask(pair, NARROW, *texts(3))

    assert [type(one) for one in third] == [Overloaded] * 3
    assert (narrow.stats.shed, narrow.stats.outcomes["overloaded"]) == (3, 3)
    assert [answer.text for answer in await second] == ["0", "1", "2", "3"]
    assert isinstance((await first)[0], Answer)
    assert (narrow.queued, narrow.stats.requests) == (0, 8)


async def test_a_callee_that_computes_for_long_answers_what_is_done(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def compute(_: str) -> None:
        end = time.perf_counter_ns() + TURN_NS
        while time.perf_counter_ns() < end:
            pass

    first_do(pair, monkeypatch, compute)
    async with answers_to(pair) as got:
        answers = await ask(pair, ECHO, *texts(4))

    assert [answer.text for answer in answers] == [str(number) for number in range(4)]
    assert len(got) > 1


async def test_answers_that_are_too_much_for_one_message_leave_in_several(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each, "BODY_MAX", 1_000)
    async with answers_to(pair) as got:
        answers = await ask(pair, ECHO, *(Ask(text=str(n) * 300) for n in range(9)))

    assert [answer.text for answer in answers] == [str(n) * 300 for n in range(9)]
    assert len(got) > 4


async def test_a_callee_that_is_too_late_for_all_is_given_a_rest_as_if_it_were_silent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def late(_: str) -> None:
        raise TimeoutError

    first_do(pair, monkeypatch, late)

    answers = await ask(pair, ECHO, *texts(10))

    assert {type(answer) for answer in answers} == {TimedOut}
    assert pair.asking.caller.breakers["wallet"].state == OPEN


@pytest.mark.parametrize("call", [ECHO, NARROW_ALONE, MANY])
async def test_a_reply_that_is_too_large_to_leave_is_said_to_be_so(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, call: Call[Ask, Answer]
) -> None:
    """The caller is not left to wait for it, and takes nobody for silent."""
    monkeypatch.setattr(pair.answering.connection, "_max_payload", HEADERS_MAX + 1_000)

    large = await ask(pair, call, Ask(text="x" * 2_000))
    several = await ask(pair, call, *(Ask(text=letter * 2_000) for letter in "abc"))

    assert {type(answer) for answer in large + several} == {RemoteBug}
    assert pair.asking.caller.breakers["wallet"].state == CLOSED
    counted = endpoint_of(pair, call).stats
    assert (counted.requests, counted.outcomes) == (4, {"internal": 4})


async def test_a_reply_that_is_too_large_takes_no_other_with_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.answering.connection, "_max_payload", HEADERS_MAX + 1_000)

    answers = await ask(pair, ECHO, Ask(text="a"), Ask(text="b" * 2_000), Ask(text="c"))

    assert [type(answer) for answer in answers] == [Answer, RemoteBug, Answer]


async def test_a_reply_that_has_no_form_fails_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def formless(text: str) -> object:
        return object() if text == "1" else None

    first_do(pair, monkeypatch, formless)

    answers = await ask(pair, ECHO, *texts(4))

    assert [type(answer) for answer in answers] == [Answer, RemoteBug, Answer, Answer]


@pytest.fixture
async def liar(pair: Pair) -> AsyncGenerator[Callable[[list[tuple[str, bytes]]], None]]:
    """The answering service's place, taken by whoever answers as a test says."""
    subscriptions = endpoint_of(pair, ECHO).subscriptions
    for subscription in subscriptions:
        await subscription.drain()
    subscriptions.clear()
    client: Client = pair.answering.connection
    told: list[tuple[str, bytes]] = []

    async def lie(message: Msg) -> None:
        for places, body in told:
            headers = {PLACES_HEADER: places} if places else None
            await client.publish(message.reply, body, headers=headers)

    subscription = await client.subscribe(ECHO.subject, queue="wallet", cb=lie)
    await client.flush()
    yield told.extend
    await subscription.unsubscribe()


GOOD = encode([[Answer(text="part", caller="casino", left_s=1.0)]])


@pytest.mark.parametrize(
    "told",
    [
        [("7", GOOD)],
        [("x", GOOD)],
        [("0 0", GOOD)],
        [("0", GOOD), ("0", GOOD)],
        [("0", b"{"), ("1 2", GOOD)],
        [("", GOOD)],
        [("0", GOOD), ("", GOOD)],
    ],
)
async def test_an_answer_to_what_was_not_asked_ends_the_calls_that_wait_for_it(
    pair: Pair, liar: Callable[[list[tuple[str, bytes]]], None], told: list[tuple[str, bytes]]
) -> None:
    liar(told)

    answers = await ask(pair, ECHO, *texts(3))

    assert RemoteBug in map(type, answers)
    assert {type(answer) for answer in answers} <= {RemoteBug, Answer}
    assert sum(isinstance(answer, Answer) for answer in answers) <= 1


async def test_a_part_of_no_answer_is_nobodys(pair: Pair) -> None:
    """What an old or foreign caller asked alone is answered whole, whatever else arrives."""
    stray = {PLACES_HEADER: "0"}
    inbox = pair.asking.caller.inbox
    await pair.answering.connection.publish(f"{inbox}999999", GOOD, headers=stray)

    [answer] = await ask(pair, ECHO, Ask(text="after it"))

    assert answer.text == "after it"


async def test_a_foreign_batch_tells_its_size_wrongly_and_is_served(pair: Pair) -> None:
    body = encode([[int(time.time() * 1000) + PATIENT_MS, "", "", Ask(text="one")]])

    for told in ("x", "-1", "99999999"):
        answer = await pair.asking.caller.exchange(
            ECHO, body, time.time() + 10, {BATCH_HEADER: told}
        )
        assert b'"one"' in answer
