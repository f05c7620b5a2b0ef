"""The SQL of how bets end and of the money that follows: statements over many bets at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Event
from svc.mesh.database import Tx
from svc.sportsbook.contract import BetResult, BetStatus
from svc.sportsbook.store_bets import columns

PayKind = Literal["bet_payout", "bet_refund"]


class Ended(Struct, frozen=True, kw_only=True):
    """What a bet is from now on: decided, with its payment, or open again (all None)."""

    bet_id: str
    version: int
    status: BetStatus
    result: BetResult | None = None
    payout: int | None = None
    transfer_id: str | None = None


class TransferOrder(Struct, frozen=True, kw_only=True):
    """A movement of money that the wallet is told of until it has answered."""

    transfer_id: str
    op: Literal["credit_balance", "rollback"]
    bet_id: str
    user_id: str
    amount: int
    currency: str
    kind: PayKind
    stake_transfer_id: str | None = None
    original_transfer_id: str | None = None


async def touch(tx: Tx, bet_ids: Sequence[str]) -> None:
    """Raise the version of open bets whose legs changed: offers to buy them back are void."""
    await tx.execute(
        "UPDATE bet SET version = version + 1 WHERE bet_id = ANY ($1::uuid[])", list(bet_ids)
    )


async def end(tx: Tx, bets: Sequence[Ended], now: datetime) -> None:
    """Write what became of locked bets, all in one statement."""
    await tx.execute(
        """
        UPDATE bet
        SET version = n.version, status = n.status, result = n.result, payout = n.payout,
            payout_transfer_id = n.transfer_id,
            settled_at = CASE WHEN n.transfer_id IS NULL THEN NULL ELSE $7::timestamptz END
        FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::uuid[])
             AS n (bet_id, version, status, result, payout, transfer_id)
        WHERE bet.bet_id = n.bet_id
        """,
        *columns([msgspec.structs.astuple(bet) for bet in bets], 6),
        now,
    )


async def order(tx: Tx, orders: Sequence[TransferOrder], now: datetime) -> None:
    """Write movements of money in their order; one that is written already stays as it is."""
    await tx.execute(
        """
        INSERT INTO transfer_order (transfer_id, op, bet_id, user_id, amount, currency, kind,
                                    stake_transfer_id, original_transfer_id, ordered_at)
        SELECT n.*, $10
        FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::bigint[], $6::text[],
                    $7::text[], $8::uuid[], $9::uuid[]) AS n
        ON CONFLICT (transfer_id) DO NOTHING
        """,
        *columns([msgspec.structs.astuple(each) for each in orders], 9),
        now,
    )


async def waiting_orders(tx: Tx, limit: int) -> list[TransferOrder]:
    """Return movements that the wallet has not answered, oldest first."""
    rows = await tx.fetch(
        """
        SELECT transfer_id::text, op, bet_id::text, user_id::text, amount, currency, kind,
               stake_transfer_id::text, original_transfer_id::text
        FROM transfer_order WHERE done_at IS NULL ORDER BY position LIMIT $1
        """,
        limit,
    )
    return [TransferOrder(**dict(row)) for row in rows]


async def finish_orders(tx: Tx, answered: Sequence[tuple[str, str | None]], now: datetime) -> None:
    """Record the wallet's answers, each a transfer id with the name of a refusal or None."""
    await tx.execute(
        """
        UPDATE transfer_order SET done_at = $3, refusal = n.refusal
        FROM unnest($1::uuid[], $2::text[]) AS n (transfer_id, refusal)
        WHERE transfer_order.transfer_id = n.transfer_id AND done_at IS NULL
        """,
        *columns(answered, 2),
        now,
    )


async def publish_all(
    tx: Tx,
    event: Event[Any],
    told: Sequence[tuple[str, Any]],
    contexts: Mapping[str, Context] | None = None,
) -> None:
    """Announce one kind of event of many bets as one row of the outbox; each with its bet's id.

    `contexts` are, by bet, the pieces of work that caused them: without any it is this one.
    """
    caused = contexts or {}
    envelopes = [
        caused.get(bet_id, tx.context).envelope(event, data, subject=bet_id)
        for bet_id, data in told
    ]
    if not envelopes:
        return
    await tx.execute(
        "INSERT INTO mesh_outbox (event_id, subject, body, events) VALUES ($1, $2, $3, $4)",
        tx.context.new_id(),
        event.subject,
        msgspec.msgpack.encode([(each.id, msgspec.json.encode(each)) for each in envelopes]),
        len(envelopes),
    )
    tx.pending_events += len(envelopes)
