"""Concurrent calls of one subject travel together, and each keeps what is its own."""

import asyncio
import time

import pytest

from svc.mesh import coalesce
from svc.mesh.errors import Invalid, TimedOut, Unavailable
from svc.mesh.wire import are_safe, safe
from tests.mesh.pair import MANY, PATIENT_MS, Answer, Ask, Pair, TooMuch


async def test_a_lone_call_travels_alone_and_at_once(pair: Pair) -> None:
    answer = await pair.asking.context().call(MANY, Ask(text="alone"))

    assert (answer.text, answer.caller) == ("alone", "casino")


async def test_a_thousand_concurrent_calls_are_answered_in_few_messages(pair: Pair) -> None:
    context = pair.asking.context()
    sent_before = pair.asking.caller.counter

    answers = await asyncio.gather(
        *(context.call(MANY, Ask(text=str(n)), deadline_ms=20_000) for n in range(1_000))
    )

    assert [answer.text for answer in answers] == [str(n) for n in range(1_000)]
    assert pair.asking.caller.counter - sent_before < 20


def begin(pair: Pair, *asked: Ask) -> "list[asyncio.Task[Answer]]":
    """Ask all, with much time, and wait for none."""
    context = pair.asking.context()
    return [asyncio.create_task(context.call(MANY, one, deadline_ms=PATIENT_MS)) for one in asked]


async def loaded(pair: Pair) -> int:
    """Ask so much that messages are to be large; return how many messages were sent by then."""
    await asyncio.gather(*begin(pair, *(Ask(text=str(number)) for number in range(300))))
    return pair.asking.caller.counter


async def sent_now(pair: Pair) -> int:
    """Return how many messages were sent when all that is to leave in this turn has left."""
    await pair.asking.connection.flush()
    return pair.asking.caller.counter


async def test_under_load_a_second_message_waits_until_it_is_worth_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "PATIENCE_S", 60.0)
    before = await loaded(pair)

    [held] = begin(pair, Ask(text="held"))
    first = await sent_now(pair) - before
    few = begin(pair, *(Ask(text=f"few {number}") for number in range(10)))
    with_few = await sent_now(pair) - before
    more = begin(pair, *(Ask(text=f"more {number}") for number in range(150)))
    with_more = await sent_now(pair) - before
    pair.memory.hold.set()
    answers = await asyncio.gather(held, *few, *more)

    assert first == 1
    assert with_few == 1, "ten do not leave beside it"
    assert with_more == 2, "but half of what was lately under way does"
    assert len(answers) == 161


async def test_what_waits_for_company_does_not_wait_for_a_message_that_is_lost(pair: Pair) -> None:
    await loaded(pair)

    [lost] = begin(pair, Ask(text="held"))
    await sent_now(pair)
    few = begin(pair, *(Ask(text=f"few {number}") for number in range(10)))
    answers = await asyncio.gather(*few)

    assert len(answers) == 10
    assert not lost.done()
    pair.memory.hold.set()
    await lost


async def test_one_refusal_among_many_is_its_callers_alone(pair: Pair) -> None:
    context = pair.asking.context()
    texts = ["a", "b", "too much", "c", "too much", "d"]

    answers = await asyncio.gather(
        *(context.call(MANY, Ask(text=text)) for text in texts), return_exceptions=True
    )

    for text, answer in zip(texts, answers, strict=True):
        if text == "too much":
            assert isinstance(answer, TooMuch)
            assert answer.members == {"text": "too much"}
        else:
            assert isinstance(answer, Answer)
            assert answer.text == text


async def test_each_call_of_a_batch_has_its_own_deadline(pair: Pair) -> None:
    context = pair.asking.context()
    patient = [context.call(MANY, Ask(text=f"p{n}"), deadline_ms=9_000) for n in range(10)]
    slow = context.call(MANY, Ask(text="slow", sleep_s=5), deadline_ms=200)

    answers = await asyncio.gather(*patient[:5], slow, *patient[5:], return_exceptions=True)

    assert isinstance(answers[5], TimedOut)
    left = [answer.left_s for answer in answers if isinstance(answer, Answer)]
    assert len(left) == 10
    assert min(left) > 1


async def test_calls_of_a_batch_do_not_wait_for_one_another(pair: Pair) -> None:
    context = pair.asking.context()
    waiting = [context.call(MANY, Ask(text=f"w{n}", sleep_s=0.3)) for n in range(20)]
    quick = [context.call(MANY, Ask(text=f"q{n}")) for n in range(20)]

    answers = await asyncio.gather(*waiting[:10], *quick, *waiting[10:])  # a deadline of 1 s each

    texts = [answer.text for answer in answers]
    assert texts[:10] + texts[30:] == [f"w{n}" for n in range(20)]
    assert texts[10:30] == [f"q{n}" for n in range(20)]


async def test_a_bad_request_in_a_batch_is_refused_alone(pair: Pair) -> None:
    context = pair.asking.context()
    good = [context.call(MANY, Ask(text=str(n))) for n in range(5)]
    bad = pair.asking.caller.call_raw(MANY, b'{"text": 1}', 1.0, context)

    answers = await asyncio.gather(*good, bad, return_exceptions=True)

    assert isinstance(answers[5], Invalid)
    assert all(isinstance(answer, Answer) for answer in answers[:5])


async def test_a_batch_without_callee_fails_every_call_at_once(pair: Pair) -> None:
    await pair.answering.stop()
    context = pair.asking.context()

    answers = await asyncio.gather(
        *(context.call(MANY, Ask(text=str(n))) for n in range(20)), return_exceptions=True
    )

    assert all(isinstance(answer, Unavailable) for answer in answers)


async def test_an_id_that_no_header_may_hold_is_left_out(pair: Pair) -> None:
    context = pair.asking.context()
    context.correlation_id = "a\r\nNats-Service-Error: forged"

    assert (await context.call(MANY, Ask(text="safe"))).text == "safe"


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"[[1", b'[{"text":"a"}]', b'[["a","","",{}]]'])
async def test_a_batch_of_another_form_is_refused(pair: Pair, body: bytes) -> None:
    headers = {"Mesh-Batch": "1"}

    with pytest.raises(Invalid):
        await pair.asking.caller.exchange(MANY, body, time.time() + 10, headers)


@pytest.mark.parametrize(
    ("ids", "good"),
    [
        ([], True),
        (["", "", ""], True),
        (["a-Z_", "0"], True),
        (["a" * 128, "00-4bf92f-00f067-01", "a.b:c"], True),
        (["a" * 129], False),
        (["a" * 127, "é"], False),
        (["a", "\r\n"], False),
        (["\ud800"], False),
    ],
)
def test_ids_are_passed_on_together_as_each_would_be_alone(ids: list[str], *, good: bool) -> None:
    assert are_safe(ids) is good
    assert all(safe(one) == one for one in ids) is good
