"""Calls between services: typed answers, named refusals, deadlines, overload, the broker's no."""

import asyncio
import time

import pytest

from svc.mesh.discovery import survey
from svc.mesh.endpoint import Turn
from svc.mesh.errors import Denied, Invalid, RemoteBug, TimedOut, Unavailable, Undeclared
from svc.platform import streams
from tests.mesh.pair import BREAK, ECHO, NARROW, REFUSE, SECRET, Ask, Pair, TooMuch


async def test_a_call_is_answered_and_the_callee_knows_who_asked(pair: Pair) -> None:
    answer = await pair.asking.context().call(ECHO, Ask(text="hello"))

    assert (answer.text, answer.caller) == ("hello", "casino")


async def test_the_callee_sees_how_long_its_caller_waits(pair: Pair) -> None:
    answer = await pair.asking.context().call(ECHO, Ask(text="hurry"), deadline_ms=500)

    assert 0 < answer.left_s <= 0.5


async def test_a_nested_call_never_waits_longer_than_the_work_it_belongs_to(pair: Pair) -> None:
    context = pair.asking.context()
    context.deadline = time.time() + 0.25

    answer = await context.call(ECHO, Ask(text="nested"), deadline_ms=60_000)

    assert answer.left_s <= 0.25


async def test_a_deadline_that_has_passed_fails_before_anything_is_sent(pair: Pair) -> None:
    context = pair.asking.context()
    context.deadline = time.time() - 1

    with pytest.raises(TimedOut):
        await context.call(ECHO, Ask(text="late"))

    assert pair.memory.served == []


async def test_a_refusal_arrives_as_the_class_that_the_contract_names(pair: Pair) -> None:
    with pytest.raises(TooMuch) as caught:
        await pair.asking.context().call(REFUSE, Ask(text="eleven"))

    assert caught.value.detail == "no more than ten"
    assert caught.value.members == {"limit": 10, "text": "eleven"}


async def test_a_bug_tells_the_caller_nothing_of_its_cause(pair: Pair) -> None:
    with pytest.raises(RemoteBug) as caught:
        await pair.asking.context().call(BREAK, Ask(text="x"))

    assert "secret" not in str(caught.value)


async def test_a_late_answer_is_a_time_out_and_the_next_call_works(pair: Pair) -> None:
    with pytest.raises(TimedOut):
        await pair.asking.context().call(ECHO, Ask(text="slow", sleep_s=5), deadline_ms=100)

    assert (await pair.asking.context().call(ECHO, Ask(text="next"))).text == "next"


async def test_an_abandoned_call_does_not_keep_its_worker(pair: Pair) -> None:
    with pytest.raises(TimedOut):
        await pair.asking.context().call(NARROW, Ask(text="first", sleep_s=30), deadline_ms=100)

    answer = await pair.asking.context().call(NARROW, Ask(text="second"), deadline_ms=1_000)

    assert answer.text == "second"


async def test_calls_of_one_endpoint_run_side_by_side(pair: Pair) -> None:
    context = pair.asking.context()
    together = [context.call(ECHO, Ask(text=str(n), sleep_s=0.5)) for n in range(5)]

    answers = await asyncio.gather(*together)

    # One after the other they would need 2.5 s, beyond the call's deadline of one second.
    assert [answer.text for answer in answers] == ["0", "1", "2", "3", "4"]


async def test_a_full_queue_answers_unavailable_and_does_nothing(pair: Pair) -> None:
    context = pair.asking.context()
    calls = [
        context.call(NARROW, Ask(text=f"n{n}", sleep_s=0.02), deadline_ms=5_000) for n in range(60)
    ]

    answers = await asyncio.gather(*calls, return_exceptions=True)

    shed = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert shed
    assert len(pair.memory.served) == len(answers) - len(shed)


async def test_a_callee_that_computes_without_waiting_still_hears_who_asks_in_between() -> None:
    loop, turn = asyncio.get_running_loop(), Turn()
    seen: list[str] = []

    def read() -> None:
        seen.append("read")
        if seen.count("served") < 3:
            loop.call_soon(read)

    loop.call_soon(read)
    for _ in range(3):
        if time.perf_counter_ns() > turn.until_ns:
            await turn.over()
        seen.append("served")
        turn.until_ns = 0  # as if it had taken all of its turn

    served = [place for place, what in enumerate(seen) if what == "served"]
    assert all("read" in seen[a:b] for a, b in zip([0, *served], served, strict=False))


async def test_a_callee_that_is_not_there_fails_at_once(pair: Pair) -> None:
    await pair.answering.stop()

    with pytest.raises(Unavailable, match="no running instance"):
        await pair.asking.context().call(ECHO, Ask(text="x"))


async def test_a_call_that_is_not_declared_is_refused_before_it_is_sent(pair: Pair) -> None:
    with pytest.raises(Undeclared):
        await pair.asking.context().call(SECRET, Ask(text="x"))


async def test_a_call_that_the_broker_denies_fails_as_denied_not_as_a_time_out(pair: Pair) -> None:
    context = pair.asking.context()

    with pytest.raises(Denied, match="secret"):
        await pair.asking.caller.call(SECRET, Ask(text="x"), 5.0, context)

    assert pair.memory.served == []


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"text": 1}', b'{"text": "a", "more": 1}', b"\xff\xfe", b"[" * 5_000]
)
async def test_a_body_of_another_form_is_refused_with_its_reason(pair: Pair, body: bytes) -> None:
    with pytest.raises(Invalid):
        await pair.asking.caller.call_raw(ECHO, body, 2.0, pair.asking.context())

    assert pair.memory.served == []


async def test_draining_finishes_what_is_in_flight(pair: Pair) -> None:
    running = asyncio.create_task(
        pair.asking.context().call(ECHO, Ask(text="in flight", sleep_s=0.3))
    )
    await pair.memory.serving.wait()

    await pair.answering.stop()

    assert (await running).text == "in flight"


async def test_the_services_protocol_tells_what_is_answered_and_how_often(pair: Pair) -> None:
    for number in range(3):
        await pair.asking.context().call(ECHO, Ask(text=str(number)))
    with pytest.raises(TooMuch):
        await pair.asking.context().call(REFUSE, Ask(text="x"))

    connection = await streams.connect(pair.installation, "operator")
    try:
        stats = await survey(connection, "operator", "$SRV.STATS.wallet", 2.0, enough=1)
    finally:
        await connection.close()

    endpoints = {endpoint["name"]: endpoint for endpoint in stats[0]["endpoints"]}
    assert endpoints["echo"]["num_requests"] == 3
    assert (endpoints["refuse"]["num_requests"], endpoints["refuse"]["num_errors"]) == (1, 1)
    assert endpoints["refuse"]["last_error"] == "too-much"
