"""The SQL of how bets end and of the money that follows: statements over many bets at once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Event
from svc.mesh.database import Tx
from svc.mesh.parcels import Parcel, packed
from svc.mesh.wire import encode
from svc.sportsbook.contract import BetResult, BetStatus
from svc.sportsbook.store_arrays import arrays

PayKind = Literal["bet_payout", "bet_refund"]


class Ended(Struct, frozen=True, kw_only=True):
    """What a bet is from now on: decided, with its payment, or open again (all None)."""

    bet_id: str
    version: int
    status: BetStatus
    result: BetResult | None = None
    payout: int | None = None
    transfer_id: str | None = None


class TransferOrder(Struct, frozen=True):
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
        "UPDATE bet SET version = version + 1 WHERE bet_id = ANY ($1::uuid[])",
        list(bet_ids),
    )


async def end(tx: Tx, bets: Sequence[Ended], now: datetime) -> None:
    """Write what became of locked bets, all in one statement."""
    await tx.execute(
        """
        UPDATE bet
        SET version = n.version, status = n.status, result = n.result, payout = n.payout,
            payout_transfer_id = n.transfer_id,
            settled_at = CASE WHEN n.transfer_id IS NULL THEN NULL ELSE $7::timestamptz END
        FROM unnest($1::text::uuid[], $2::text::integer[], $3::text::text[], $4::text::text[],
                    $5::text::bigint[], $6::text::uuid[])
             AS n (bet_id, version, status, result, payout, transfer_id)
        WHERE bet.bet_id = n.bet_id
        """,
        *arrays(bets),
        now,
    )


async def order(tx: Tx, orders: Sequence[TransferOrder], now: datetime) -> None:
    """Write movements of money in their order; one that is written already stays as it is."""
    await tx.execute(
        """
        INSERT INTO transfer_order (transfer_id, op, bet_id, user_id, amount, currency, kind,
                                    stake_transfer_id, original_transfer_id, ordered_at)
        SELECT n.*, $10
        FROM unnest($1::text::uuid[], $2::text::text[], $3::text::uuid[], $4::text::uuid[],
                    $5::text::bigint[], $6::text::text[], $7::text::text[], $8::text::uuid[],
                    $9::text::uuid[]) AS n
        ON CONFLICT (transfer_id) DO NOTHING
        """,
        *arrays(orders),
        now,
    )


async def waiting_orders(tx: Tx, sent: Sequence[str], limit: int) -> list[TransferOrder]:
    """Return movements that wait for the wallet, oldest first, but those that were just sent."""
    rows = await tx.fetch(
        """
        SELECT transfer_id::text, op, bet_id::text, user_id::text, amount, currency, kind,
               stake_transfer_id::text, original_transfer_id::text
        FROM transfer_order
        WHERE done_at IS NULL AND transfer_id <> ALL ($1::uuid[])
        ORDER BY position LIMIT $2
        """,
        list(sent),
        limit,
    )
    return [TransferOrder(*row) for row in rows]


async def finish_orders(tx: Tx, transfer_ids: Sequence[str]) -> None:
    """Forget movements that the wallet made: its ledger keeps them from then on."""
    await tx.execute(
        "DELETE FROM transfer_order WHERE transfer_id = ANY ($1::uuid[])",
        list(transfer_ids),
    )


async def refuse_orders(tx: Tx, refused: Sequence[tuple[str, str]], now: datetime) -> None:
    """Keep movements that the wallet refused for good, each a transfer id with the refusal."""
    await tx.executemany(
        "UPDATE transfer_order SET done_at = $3, refusal = $2 WHERE transfer_id = $1",
        [(transfer_id, refusal, now) for transfer_id, refusal in refused],
    )


async def sum_up_risk(tx: Tx) -> None:
    """Sum up what settlements and new bets have added to the open risk: a row per currency."""
    await tx.execute(
        """
        WITH parts AS (DELETE FROM open_risk RETURNING *)
        INSERT INTO open_risk (currency, open_bets, stakes, potential_payout)
        SELECT currency, sum(open_bets), sum(stakes), sum(potential_payout)
        FROM parts GROUP BY currency
        """
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
    parcels = [Parcel(event.subject, encode(each), each.id) for each in envelopes]
    row_id, count = tx.context.new_id(), len(parcels)
    await tx.execute(
        "INSERT INTO mesh_outbox (event_id, subject, body, events) VALUES ($1, $2, $3, $4)",
        row_id,
        event.subject,
        packed(parcels),
        count,
    )
    tx.pending_events += count
    relay = tx.context.runtime.relay

    async def keep() -> None:
        if relay is not None:
            relay.keep(row_id, lambda: parcels, count)

    tx.after_commit(keep)
