"""Raffles: tickets for deposits, and draws that anybody can check."""

import secrets
from collections import Counter

from svc.gaming import rules, store, store_raffles
from svc.gaming.awards import award
from svc.gaming.contract import (
    RAFFLE_DRAWN,
    RAFFLE_TICKETS_ISSUED,
    Place,
    RaffleDrawn,
    RaffleTicketsIssued,
)
from svc.mesh.database import Tx
from svc.mesh.errors import Conflict, NotFound
from svc.payment import contract as payment
from svc.scheduler import contract as scheduler

DRAW_JOB = "draw-raffle"
"""Wakes gaming at the very second of a draw; should it be lost, the job of each minute draws."""


async def open_raffle(tx: Tx, currency: str) -> None:
    """Open this week's raffle of a currency, unless one is open; its seed is committed to now."""
    now = tx.context.now()
    _, draws_at = rules.week_of(now)
    week = rules.week_id("raffle", currency, now)
    earlier = await store_raffles.count_raffles(tx, week)
    server_seed = secrets.token_hex(32)
    raffle = store_raffles.StoredRaffle(
        raffle_id=rules.game_id(week, earlier),
        currency=currency,
        prize=rules.RAFFLE_PRIZE,
        winners_wanted=rules.RAFFLE_WINNERS,
        issued=0,
        status="open",
        draws_at=draws_at,
        server_seed=server_seed,
        commitment=rules.seed_commitment(server_seed),
    )
    if not await store_raffles.insert_raffle(tx, raffle, now):
        return
    wake = scheduler.JobRequested(
        service="gaming", name=DRAW_JOB, key=raffle.raffle_id, at=draws_at
    )
    await tx.publish(scheduler.JOB_REQUESTED, wake, subject=f"gaming.{DRAW_JOB}")


async def take_deposit(tx: Tx, paid: payment.PaymentSuccess) -> bool:
    """Give a deposit its tickets in the open raffle of its currency; False for none."""
    if await store.is_excluded(tx, paid.user_id, tx.context.now()):
        return False
    raffle = await store_raffles.lock_open_raffle(tx, paid.currency)
    if raffle is None:
        await open_raffle(tx, paid.currency)
        raffle = await store_raffles.lock_open_raffle(tx, paid.currency)
        assert raffle is not None
    deposit = await store_raffles.record_deposit(
        tx, paid.payment_id, raffle.raffle_id, paid.user_id, paid.amount
    )
    tickets = rules.tickets_for(deposit.amount, deposit.refunded)
    if tickets == 0:
        return False
    await store_raffles.issue_tickets(tx, raffle, paid.user_id, paid.payment_id, tickets)
    await store_raffles.count_issued(tx, raffle.raffle_id, tickets)
    issued = RaffleTicketsIssued(
        raffle_id=raffle.raffle_id,
        user_id=paid.user_id,
        tickets=tickets,
        payment_id=paid.payment_id,
    )
    await tx.publish(RAFFLE_TICKETS_ISSUED, issued, subject=raffle.raffle_id)
    return True


async def take_refund(tx: Tx, refund: payment.PaymentRefunded) -> bool:
    """Take back the tickets that a deposit is no longer worth; False when none was lost.

    A refund may be heard before its deposit, which then gets fewer tickets; after the draw the
    tickets have done their work.
    """
    deposit = await store_raffles.record_refund(
        tx, refund.payment_id, refund.user_id, refund.amount
    )
    if deposit.raffle_id is None:
        return False
    raffle = await store_raffles.lock_raffle(tx, deposit.raffle_id)
    if raffle is None or raffle.status != "open":
        return False
    keep = rules.tickets_for(deposit.amount, deposit.refunded)
    return await store_raffles.revoke_tickets(tx, refund.payment_id, keep, tx.context.now()) > 0


async def draw(tx: Tx, raffle_id: str) -> list[Place]:
    """Draw a raffle: freeze its tickets, reveal the seed, award the prizes.

    Raises NotFound, or Conflict when it was drawn before.
    """
    raffle = await store_raffles.lock_raffle(tx, raffle_id)
    if raffle is None:
        raise NotFound(f"there is no raffle {raffle_id}")
    if raffle.status != "open":
        raise Conflict(f"{raffle_id} was drawn before")
    holders = dict(await store_raffles.tickets_of(tx, raffle_id))
    tickets = list(holders)
    held = Counter(holders.values())
    winners = rules.draw_winners(raffle_id, tickets, raffle.server_seed, raffle.winners_wanted)
    list_hash = rules.list_hash(tickets)
    now = tx.context.now()
    await store_raffles.mark_drawn(tx, raffle_id, list_hash, now)
    if now < raffle.draws_at:
        given_up = scheduler.JobCancelled(service="gaming", name=DRAW_JOB, key=raffle_id)
        await tx.publish(scheduler.JOB_CANCELLED, given_up, subject=f"gaming.{DRAW_JOB}")
    drawn = RaffleDrawn(
        raffle_id=raffle_id,
        tickets=len(tickets),
        list_hash=list_hash,
        server_seed=raffle.server_seed,
        winners=winners,
    )
    await tx.publish(RAFFLE_DRAWN, drawn, subject=raffle_id)
    places: list[Place] = []
    for place, ticket in enumerate(winners, start=1):
        user_id = holders[ticket]
        await store_raffles.place_ticket(tx, raffle_id, ticket, place)
        await award(
            tx,
            kind="raffle",
            source_id=raffle_id,
            place=place,
            user_id=user_id,
            amount=raffle.prize,
            currency=raffle.currency,
        )
        places.append(Place(place=place, user_id=user_id, score=held[user_id], prize=raffle.prize))
    return places
