"""A breaker opens after failures in a row, rests, lets one call find out, and closes again."""

import pytest

from svc.mesh.breaker import CLOSED, HALF_OPEN, OPEN, REST_S, REST_S_MAX, Breaker
from svc.mesh.errors import Resting, TimedOut, Unavailable
from tests.mesh.pair import ECHO, FLAKY, MANY, Ask, Pair
from tests.mesh.sickness import AT_ONCE, ends_well, given_a_rest, outcomes
from tests.support.waiting import until

LIMIT = 3


def failed(times: int, breaker: Breaker, at: float = 10.0) -> None:
    """Let calls fail one after the other, each asked a second before."""
    for number in range(times):
        breaker.failed(asked=at + number - 1, now=at + number)


def opened() -> Breaker:
    """Return a breaker that opened at 12."""
    breaker = Breaker(LIMIT)
    failed(LIMIT, breaker)
    return breaker


def test_it_lets_calls_pass_until_so_many_failed_in_a_row() -> None:
    breaker = Breaker(LIMIT)

    failed(LIMIT - 1, breaker)
    assert (breaker.state, breaker.refuses(12)) == (CLOSED, False)

    failed(1, breaker, at=12)
    assert (breaker.state, breaker.refuses(12), breaker.openings) == (OPEN, True, 1)


def test_an_answer_in_between_begins_the_row_anew() -> None:
    breaker = Breaker(LIMIT)
    failed(LIMIT - 1, breaker)
    breaker.close()

    failed(LIMIT - 1, breaker)

    assert breaker.state == CLOSED


def test_a_call_that_fails_while_others_are_answered_says_nothing() -> None:
    """One of two instances hangs: the other goes on answering, so nobody is cut off."""
    breaker = Breaker(LIMIT)
    breaker.answered = 100.0

    for _ in range(LIMIT * 10):
        breaker.failed(asked=99.0, now=101.0)

    assert (breaker.state, breaker.failures) == (CLOSED, 0)


def test_after_the_rest_one_call_finds_out_and_all_others_wait_for_it() -> None:
    breaker = opened()
    now = 12 + REST_S
    assert not breaker.refuses(now)

    breaker.passed(now, wait_s=2)

    assert breaker.state == HALF_OPEN
    assert breaker.refuses(now)
    assert not breaker.refuses(now + 2), "who asked may have gone away without an outcome"


def test_an_answer_closes_it() -> None:
    breaker = opened()
    breaker.passed(12 + REST_S, wait_s=2)

    breaker.close()

    assert (breaker.state, breaker.failures, breaker.refuses(12.2)) == (CLOSED, 0, False)


@pytest.mark.parametrize("patient", [True, False])
def test_rests_grow_while_a_silent_callee_stays_so_but_never_beyond_a_second(
    *, patient: bool
) -> None:
    breaker = opened()
    rests: list[float] = []
    now = 12.0
    for _ in range(10):
        now = breaker.until
        breaker.passed(now, wait_s=1)
        breaker.failed(asked=now, now=now + 1, patient=patient)
        rests.append(breaker.until - now - 1)

    longest = REST_S_MAX if patient else REST_S
    assert all(rest <= longest for rest in rests)
    assert rests[-1] >= longest / 2
    assert breaker.openings == 1


def test_calls_that_were_on_their_way_do_not_make_the_rest_longer() -> None:
    breaker = opened()
    until = breaker.until

    for _ in range(100):
        breaker.failed(asked=11.5, now=12.05)

    assert breaker.until == until


async def test_a_slow_callee_is_given_a_rest_stops_late_work_and_is_asked_again(
    pair: Pair,
) -> None:
    assert await outcomes(pair.asking, ECHO, sleep_s=30) == {TimedOut.__name__: AT_ONCE}
    await given_a_rest(pair.asking, ECHO, sleep_s=30)

    await ends_well(pair.asking, ECHO)
    endpoint = next(one for one in pair.answering.endpoints if one.call is ECHO)

    async def nothing_left() -> bool:
        return not (endpoint.queue or endpoint.running or endpoint.busy)

    await until(nothing_left, "late work is gone")
    # What was begun was cancelled at its caller's deadline; most was too late to be begun.
    assert len(pair.memory.cancelled) >= ECHO.workers
    assert len(pair.memory.served) == len(pair.memory.cancelled) + endpoint.stats.outcomes["ok"]
    assert len(pair.memory.served) + endpoint.stats.late == endpoint.stats.requests


async def test_a_call_that_is_unavailable_is_given_a_rest_while_others_are_answered(
    pair: Pair,
) -> None:
    context = pair.asking.context()

    async def resting() -> bool:
        with pytest.raises(Unavailable) as caught:
            await context.call(FLAKY, Ask(text="never"), deadline_ms=20_000)
        return isinstance(caught.value, Resting)

    await until(resting, "the call is given a rest")
    assert (await context.call(ECHO, Ask(text="well"))).text == "well"

    pair.memory.ill = False

    async def well() -> bool:
        try:
            return bool(await context.call(FLAKY, Ask(text="never"), deadline_ms=20_000))
        except Resting:
            return False

    await until(well, "the call is answered again")
    assert pair.asking.caller.edge(FLAKY).breaker.state == CLOSED


async def test_a_refusal_opens_no_breaker(pair: Pair) -> None:
    context = pair.asking.context()
    for _ in range(30):
        with pytest.raises(Exception, match="one of many"):
            await context.call(MANY, Ask(text="too much"))

    assert (await context.call(MANY, Ask(text="fine"))).text == "fine"
    assert pair.asking.caller.edge(MANY).breaker.failures == 0
