"""A read that takes unusually long is asked a second time, and the first answer wins."""

import asyncio

import pytest

from svc.mesh import hedging
from svc.mesh.contract import Call, Hedge
from svc.mesh.errors import DeclarationError, TimedOut, Unavailable
from svc.mesh.metrics import Tally
from tests.mesh.pair import READ, Answer, Ask, Pair


async def test_the_second_request_wins_when_the_first_is_slow(pair: Pair) -> None:
    tally = pair.asking.caller.edge(READ).tally
    hedges, won = tally.hedges, tally.hedges_won

    answer = await pair.asking.context().call(READ, Ask(text="held"), deadline_ms=20_000)

    assert answer.text == "held"
    assert pair.memory.served == ["held", "held"]
    assert (tally.hedges - hedges, tally.hedges_won - won) == (1, 1)


async def test_a_quick_read_is_asked_once(pair: Pair) -> None:
    for number in range(5):
        await pair.asking.context().call(READ, Ask(text=str(number)), deadline_ms=20_000)

    hedges = pair.asking.caller.edge(READ).tally.hedges
    assert len(pair.memory.served) - 5 <= hedges


async def test_second_requests_are_paid_from_the_budget_of_the_edge(pair: Pair) -> None:
    context = pair.asking.context()
    calls = [
        context.call(READ, Ask(text=f"slow {n}", sleep_s=0.4), deadline_ms=20_000)
        for n in range(30)
    ]

    answers = await asyncio.gather(*calls)

    assert all(isinstance(answer, Answer) for answer in answers)
    assert 30 < len(pair.memory.served) <= 30 * 1.2


async def test_a_read_that_nobody_answers_ends_at_its_deadline(pair: Pair) -> None:
    hedge = pair.asking.caller.edge(READ)
    hedge.budget.saved = 0

    with pytest.raises(TimedOut):
        await pair.asking.context().call(READ, Ask(text="slow", sleep_s=60), deadline_ms=200)

    await pair.answering.stop()
    with pytest.raises(Unavailable):
        await pair.asking.context().call(READ, Ask(text="nobody"), deadline_ms=200)
    assert not [one for one in pair.asking.caller.pending.values() if not one.future.done()]


def test_what_is_usual_is_known_after_a_while_and_rounded_up_to_a_bucket() -> None:
    tally = Tally()
    for _ in range(hedging.SEEN_MIN - 1):
        tally.observe("ok", 0.004)
    assert hedging.usual_s(tally) is None

    tally.observe("ok", 3.0)
    assert hedging.usual_s(tally) == 0.005


def test_what_mostly_takes_longer_than_all_buckets_is_never_hedged() -> None:
    tally = Tally()
    for _ in range(100):
        tally.observe("ok", 60.0)

    assert hedging.usual_s(tally) is None


@pytest.mark.parametrize(("idempotent", "batchable"), [(False, False), (True, True)])
def test_a_call_that_may_not_be_asked_twice_cannot_be_hedged(
    *, idempotent: bool, batchable: bool
) -> None:
    with pytest.raises(DeclarationError, match="hedged"):
        Call(
            "rpc.wallet.v1.x", Ask, Answer, idempotent=idempotent, batchable=batchable,
            hedge=Hedge(),
        )  # fmt: skip
