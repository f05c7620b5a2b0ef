"""Raffles: tickets for what stays deposited, draws that can be checked, through messages.

Each test plays in a currency of its own, which gets its pot, raffle and tournament at first use.
"""

import pytest

from svc.gaming import raffles, rules
from svc.gaming.contract import (
    DRAW_RAFFLE,
    PRIZE_AWARDED,
    RAFFLE_DRAWN,
    RAFFLE_TICKETS_ISSUED,
    DrawRaffle,
)
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import Conflict, NotFound
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler
from tests.gaming.feeds import (
    bet,
    deposit,
    exclude,
    raffle_with,
    refund,
    scores_become,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services("gaming")


async def test_a_raffle_gives_tickets_for_deposits_and_its_draw_can_be_checked(
    operator: Operator, platform: Platform, currency: str
) -> None:
    ann, bob = new_id(), new_id()
    await deposit(operator, ann, 5_999, currency, times=5)
    payment_id = await deposit(operator, bob, 2_500, currency)
    await deposit(operator, bob, 999, currency)
    open_raffle = await raffle_with(operator, currency, 7)
    issued = await operator.heard(RAFFLE_TICKETS_ISSUED, lambda data: data.user_id == bob)
    assert (issued.data.tickets, issued.data.payment_id) == (2, payment_id)
    assert (open_raffle.status, open_raffle.server_seed, open_raffle.winners) == ("open", None, [])

    drawn = await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id=open_raffle.raffle_id))
    told = await operator.heard(RAFFLE_DRAWN, lambda data: data.raffle_id == open_raffle.raffle_id)
    tickets = [rules.ticket_id(number) for number in range(7)]
    assert rules.seed_commitment(told.data.server_seed) == open_raffle.commitment
    assert told.data.list_hash == rules.list_hash(tickets)
    assert told.data.winners == rules.draw_winners(
        open_raffle.raffle_id, tickets, told.data.server_seed, 3
    )
    async with platform.database("gaming") as connection:
        rows = await connection.fetch(
            """SELECT user_id::text FROM raffle_tickets
               WHERE raffle_id = $1 AND place IS NOT NULL ORDER BY place""",
            open_raffle.raffle_id,
        )
    assert [place.user_id for place in drawn.winners] == [row["user_id"] for row in rows]
    prizes = await operator.all_heard(
        PRIZE_AWARDED, lambda data: data.source_id == open_raffle.raffle_id, count=3
    )
    assert [prize.data.amount for prize in prizes] == [5_000, 5_000, 5_000]
    with pytest.raises(Conflict):
        await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id=open_raffle.raffle_id))
    with pytest.raises(NotFound):
        await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id="raffle-of-nobody"))


async def test_a_draw_by_staff_gives_the_job_of_its_time_up(
    operator: Operator, services: Services, currency: str
) -> None:
    await services("scheduler")

    async def scheduled(key: str) -> bool:
        jobs = await operator.call(scheduler.JOBS, scheduler.JobsOf())
        return any(job.name == raffles.DRAW_JOB and job.key == key for job in jobs.items)

    await deposit(operator, new_id(), 1_000, currency)
    raffle_id = (await raffle_with(operator, currency, 1)).raffle_id
    await until(lambda: scheduled(raffle_id), "the draw has a job")

    await operator.call(DRAW_RAFFLE, DrawRaffle(raffle_id=raffle_id))

    async def given_up() -> bool:
        return not await scheduled(raffle_id)

    await until(given_up, "the draw has no job any more")


async def test_the_job_of_a_draw_draws_what_is_due_and_only_that(
    operator: Operator, platform: Platform, currency: str
) -> None:
    await deposit(operator, new_id(), 1_000, currency)
    raffle_id = (await raffle_with(operator, currency, 1)).raffle_id
    async with platform.database("gaming") as connection:
        await connection.execute(
            "UPDATE raffles SET draws_at = now() WHERE raffle_id = $1", raffle_id
        )
    due = scheduler.JobDue(
        service="gaming", name=raffles.DRAW_JOB, key=raffle_id, due_at=SystemClock().now(),
        payload={},
    )  # fmt: skip
    await operator.publish(scheduler.JOB_DUE, due, subject="gaming.draw-raffle")
    await operator.heard(RAFFLE_DRAWN, lambda data: data.raffle_id == raffle_id)
    cancelled = await operator.all_heard(
        scheduler.JOB_CANCELLED, lambda data: data.key == raffle_id
    )
    assert cancelled == []


async def test_a_refunded_deposit_loses_its_tickets_before_or_after_it_is_heard(
    operator: Operator, currency: str
) -> None:
    user_id = new_id()
    kept = await deposit(operator, user_id, 3_000, currency)
    lost = await deposit(operator, user_id, 4_000, currency)
    await raffle_with(operator, currency, 7)
    await refund(operator, lost, user_id, 4_000, currency)
    await raffle_with(operator, currency, 3)
    await refund(operator, kept, user_id, 500, currency)
    await raffle_with(operator, currency, 2)

    early = payment.PaymentSuccess(
        payment_id=new_id(), user_id=user_id, amount=5_000, currency=currency, method="card",
        transfer_id=new_id(), first=False,
    )  # fmt: skip
    await refund(operator, early.payment_id, user_id, 4_000, currency)
    await operator.publish(payment.PAYMENT_SUCCESS, early, subject=early.payment_id)
    await raffle_with(operator, currency, 3)


async def test_excluded_players_get_no_tickets_and_no_score(
    operator: Operator, platform: Platform, currency: str
) -> None:
    excluded, other = new_id(), new_id()
    await exclude(operator, platform, excluded)
    await deposit(operator, excluded, 10_000, currency)
    await deposit(operator, other, 1_000, currency)
    await raffle_with(operator, currency, 1)
    await bet(operator, excluded, 900, currency)
    await bet(operator, other, 100, currency)
    await scores_become(operator, currency, [(other, 100)])
