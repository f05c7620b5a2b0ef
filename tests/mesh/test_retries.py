"""What is asked again, how often, and what never is: counted at the callee."""

import asyncio
import time

import pytest
from prometheus_client import REGISTRY

from svc.mesh import coalesce, retries
from svc.mesh.contract import Call
from svc.mesh.errors import Absent, Conflict, Denied, Overloaded, RemoteBug, TimedOut, Unavailable
from svc.mesh.metrics import Tally
from tests.mesh.pair import (
    FLAKY,
    FLAKY_MANY,
    FLAKY_ONCE,
    MANY,
    NARROW,
    NARROW_ALONE,
    Answer,
    Ask,
    Pair,
)

EDGE = {"caller": "casino", "callee": "wallet"}


@pytest.mark.parametrize(
    ("failure", "idempotent", "repeated"),
    [
        (Absent("nobody there"), False, True),
        (Overloaded("full"), True, False),
        (Unavailable("not now"), True, True),
        (Unavailable("not now, and who knows what was done"), False, False),
        (TimedOut("no time left"), True, False),
        (Conflict("a rule said no"), True, False),
        (Denied("the broker said no"), True, False),
        (RemoteBug("a bug stays a bug"), True, False),
    ],
)
def test_only_what_is_safe_and_may_help_is_repeated(
    failure: Exception, *, idempotent: bool, repeated: bool
) -> None:
    assert retries.may_be_repeated(failure, 1, idempotent=idempotent) is repeated


def test_attempts_end() -> None:
    assert not retries.may_be_repeated(Unavailable(), retries.ATTEMPTS_MAX, idempotent=True)
    assert not retries.may_be_repeated(Absent(), retries.ATTEMPTS_MAX, idempotent=True)


def test_pauses_grow_and_are_never_the_same_for_two_callers() -> None:
    first, second = ([retries.pause(attempts) for _ in range(50)] for attempts in (1, 2))

    assert len(set(first)) > 1
    assert max(first) <= min(second) <= max(second) <= 2 * retries.PAUSE_S


@pytest.mark.parametrize("calm", [0, 1_000])
@pytest.mark.parametrize("calls", [5, 10, 50, 1_000])
def test_a_budget_adds_a_fifth_to_the_calls_of_an_edge_at_most(calls: int, calm: int) -> None:
    tally = Tally()
    budget = retries.Budget(tally)
    tally.count("ok", calm)
    further = 0

    for _ in range(calls):
        further += budget.take()
        tally.count("unavailable")

    assert further <= (calls * 0.2 if not calm else max(calls * 0.2, 5 + calls * 0.1))


async def test_who_is_unavailable_once_is_asked_again_without_the_caller_noticing(
    pair: Pair,
) -> None:
    answer = await pair.asking.context().call(FLAKY, Ask(text="once"))

    assert answer.text == "once"
    assert pair.memory.served == ["once", "once"]


async def test_a_call_that_may_not_happen_twice_is_asked_once(pair: Pair) -> None:
    with pytest.raises(Unavailable, match="not now"):
        await pair.asking.context().call(FLAKY_ONCE, Ask(text="once"))

    assert pair.memory.served == ["once"]


async def test_calls_that_travel_together_are_asked_again_each_for_itself(pair: Pair) -> None:
    context = pair.asking.context()
    calls = [context.call(FLAKY_MANY, Ask(text=f"fine {n}")) for n in range(20)]

    answers = await asyncio.gather(*calls[:10], context.call(FLAKY_MANY, Ask(text="once")))
    await asyncio.gather(*calls[10:])

    assert answers[-1].text == "once"
    assert pair.memory.served.count("once") == 2
    assert len(pair.memory.served) == 22


@pytest.mark.parametrize("call", [FLAKY, FLAKY_MANY])
async def test_a_sick_callee_sees_at_most_a_fifth_more_than_it_was_asked(
    pair: Pair, call: Call[Ask, Answer]
) -> None:
    """Half of the calls succeed: the breaker stays closed, only the budget keeps the measure."""
    context = pair.asking.context()
    asked = 400
    outcomes: list[object] = []

    for _ in range(asked // 20):
        calls = [
            context.call(call, Ask(text="never" if number % 2 else "fine"), deadline_ms=20_000)
            for number in range(20)
        ]
        outcomes += await asyncio.gather(*calls, return_exceptions=True)

    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == asked / 2
    assert asked < len(pair.memory.served) <= 1.2 * asked
    repeated = REGISTRY.get_sample_value("mesh_call_retries_total", {**EDGE, "verb": call.verb})
    assert repeated
    assert repeated >= len(pair.memory.served) - asked


async def test_no_attempt_is_made_beyond_the_deadline(pair: Pair) -> None:
    context = pair.asking.context()
    context.deadline = time.time() + 0.005

    with pytest.raises(Unavailable):
        await context.call(FLAKY, Ask(text="once"))

    assert len(pair.memory.served) <= 1


async def test_who_is_refused_by_a_full_queue_is_told_at_once_and_nothing_was_done(
    pair: Pair,
) -> None:
    context = pair.asking.context()
    calls = [
        context.call(NARROW, Ask(text=f"n{n}", sleep_s=0.01), deadline_ms=9_000) for n in range(40)
    ]

    answers = await asyncio.gather(*calls, return_exceptions=True)

    shed = [answer for answer in answers if isinstance(answer, Exception)]
    assert {type(failure) for failure in shed} == {Overloaded}
    assert len(pair.memory.served) == len(set(pair.memory.served)) == len(answers) - len(shed)
    endpoint = pair.answering.endpoints[[e.call for e in pair.answering.endpoints].index(NARROW)]
    assert endpoint.stats.shed == len(shed) > 0
    assert not endpoint.queue


async def test_calls_that_wait_for_a_busy_lane_are_bounded(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "QUEUE_MAX", 5)
    context = pair.asking.context()

    answers = await asyncio.gather(
        *(context.call(MANY, Ask(text=str(n))) for n in range(20)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [Answer] * 5 + [Overloaded] * 15


async def test_a_client_that_drops_a_call_because_it_is_slow_says_so_at_once(pair: Pair) -> None:
    """What nats-py keeps for a subscription is bounded too; calls do not go through it."""
    blocked = asyncio.Event()

    async def slow(_: object) -> None:
        await blocked.wait()

    endpoints = {endpoint.call.subject: endpoint for endpoint in pair.answering.endpoints}
    for subscription in endpoints[NARROW_ALONE.subject].subscriptions:
        await subscription.drain()
    endpoints[NARROW_ALONE.subject].subscriptions.clear()
    await pair.answering.connection.subscribe(
        NARROW_ALONE.subject, queue="wallet", cb=slow, pending_msgs_limit=1
    )
    await pair.answering.connection.flush()
    context = pair.asking.context()

    calls = [
        asyncio.create_task(context.call(NARROW_ALONE, Ask(text=str(n)), deadline_ms=30_000))
        for n in range(10)
    ]
    done, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)

    assert {type(call.exception()) for call in done} == {Overloaded}
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    blocked.set()
