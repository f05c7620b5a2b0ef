"""The audit: every invariant of the ledger, and the chain of its batches, counted and named.

`python -m svc.wallet.audit` checks everything and says what is wrong; the hourly job does the same,
the chain from where the last sound audit ended.
"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import asyncpg
import msgspec

from svc.mesh.database import Tx
from svc.mesh.settings import Settings
from svc.wallet import chain, rules, store
from svc.wallet.contract import AuditReport

if TYPE_CHECKING:
    from svc.mesh.context import Context

FORCIBLE = ", ".join(f"'{kind}'" for kind in sorted(rules.FORCIBLE))
INVARIANTS = {
    # Money only moves: what one has, another lacks.
    "currency_does_not_sum_to_zero": """
        SELECT count(*) FROM (SELECT FROM account GROUP BY currency HAVING sum(balance) <> 0) AS v
    """,
    "balance_is_not_the_sum_of_entries": """
        WITH own AS (
            SELECT user_id, sum(cash_change) AS cash, sum(bonus_change) AS bonus,
                sum(held_change) AS held, count(*) AS seq
            FROM transfer WHERE seq IS NOT NULL GROUP BY user_id
        ), house_own AS (
            SELECT shard, currency, name, sum(amount) AS amount FROM (
                SELECT shard, currency, contra AS name, -amount AS amount FROM entry
                UNION ALL
                SELECT shard, currency, account, amount FROM entry WHERE account = 'revenue'
            ) AS leg WHERE name <> 'debt' GROUP BY shard, currency, name
        ), lent AS (
            SELECT currency, -sum(amount) AS amount FROM entry WHERE contra = 'debt'
            GROUP BY currency
        )
        SELECT (SELECT count(*) FROM wallet FULL JOIN own USING (user_id)
            WHERE (wallet.cash, wallet.bonus, wallet.held, wallet.seq) IS DISTINCT FROM (
                coalesce(own.cash, 0), coalesce(own.bonus, 0), coalesce(own.held, 0),
                coalesce(own.seq, 0)))
            + (SELECT count(*) FROM house FULL JOIN house_own USING (shard, currency, name)
            WHERE balance IS DISTINCT FROM coalesce(amount, 0))
            + (SELECT count(*) FROM account LEFT JOIN lent USING (currency)
            WHERE name = 'debt' AND balance <> coalesce(amount, 0))
    """,
    # A balance was never below zero, not even between two transfers that are in order now. Cash is
    # only where money was taken by force or taken back: a recorded debt.
    "balance_below_floor": f"""
        SELECT (SELECT count(*) FROM wallet WHERE bonus < 0 OR held < 0)
            + (SELECT count(*) FROM transfer WHERE bonus_after < 0 OR held_after < 0
                OR (cash_after < held_after AND cash_change < held_change AND verb <> 'rollback'
                    AND NOT (verb = 'deduct_balance' AND kind IN ({FORCIBLE}))))
    """,  # noqa: S608 -- the kinds are the rules'
    "account_chain_is_broken": """
        WITH step AS (
            SELECT user_id, seq, id, cash_after, bonus_after, held_after,
                seq - coalesce(lag(seq) OVER w, 0) AS step,
                (cash_after - coalesce(lag(cash_after) OVER w, 0),
                    bonus_after - coalesce(lag(bonus_after) OVER w, 0),
                    held_after - coalesce(lag(held_after) OVER w, 0))
                    <> (cash_change, bonus_change, held_change) AS differs,
                lead(seq) OVER w IS NULL AS is_last
            FROM transfer WHERE seq IS NOT NULL WINDOW w AS (PARTITION BY user_id ORDER BY seq)
        )
        SELECT count(*) FROM step LEFT JOIN wallet USING (user_id)
        WHERE step <> 1 OR differs OR (is_last AND (wallet.cash, wallet.bonus, wallet.held,
            wallet.seq, wallet.last_id)
            IS DISTINCT FROM (cash_after, bonus_after, held_after, step.seq, step.id))
    """,
    "transfer_of_another_wallet": """
        SELECT count(*) FROM transfer LEFT JOIN wallet USING (user_id)
        WHERE outcome = 'applied' AND user_id IS NOT NULL
            AND transfer.currency IS DISTINCT FROM wallet.currency
    """,
    # Who gets and who pays is the kind's: an unknown one would have no other side.
    "entry_without_other_side": """
        SELECT count(*) FROM entry WHERE contra IS NULL
    """,
    # At most one rollback by a unique index; it gives back exactly what was taken, of bonus money
    # at least what was left.
    "rollback_differs_from_its_original": """
        SELECT count(*) FROM transfer AS undo JOIN transfer AS original
            ON original.id = undo.original_id
        WHERE undo.outcome = 'applied' AND (original.outcome NOT IN ('applied', 'tombstone')
            OR undo.user_id IS DISTINCT FROM original.user_id
            OR undo.cash_change <> -original.cash_change
            OR undo.held_change <> -original.held_change
            OR (undo.bonus_change <> -original.bonus_change
                AND (undo.bonus_after > 0 OR undo.bonus_change < -original.bonus_change)))
    """,
    "link_differs_from_its_transfer": """
        WITH wanted AS (
            SELECT original_id AS id, 'rollback' AS what, id AS transfer_id FROM transfer
            WHERE outcome = 'applied' AND original_id IS NOT NULL
            UNION ALL
            SELECT hold_id, CASE verb WHEN 'hold' THEN 'hold' ELSE 'close' END, id FROM transfer
            WHERE outcome = 'applied' AND hold_id IS NOT NULL
            UNION ALL
            SELECT stake_id, 'credit', id FROM transfer
            WHERE outcome = 'applied' AND stake_id IS NOT NULL
        )
        SELECT (SELECT count(*) FROM (TABLE wanted EXCEPT ALL TABLE link) AS missing)
            + (SELECT count(*) FROM (TABLE link EXCEPT ALL TABLE wanted) AS invented)
    """,
    "held_is_not_the_sum_of_open_holds": """
        WITH open AS (
            SELECT user_id, sum(held_change) AS held FROM transfer AS hold
            WHERE outcome = 'applied' AND verb = 'hold' AND NOT EXISTS (
                SELECT FROM transfer AS closing WHERE closing.outcome = 'applied'
                    AND closing.verb <> 'hold' AND closing.hold_id = hold.hold_id)
            GROUP BY user_id
        )
        SELECT count(*) FROM wallet LEFT JOIN open USING (user_id)
        WHERE wallet.held <> coalesce(open.held, 0)
    """,
    # Stakes stay in play until a credit decides their bet.
    "in_play_is_not_the_sum_of_open_bets": """
        WITH bet AS (
            SELECT currency, -sum(cash_change + bonus_change) AS amount FROM transfer
            WHERE outcome = 'applied' AND kind = 'bet' GROUP BY currency
        ), decided AS (
            SELECT currency, -sum(cash_change + bonus_change) AS amount FROM transfer AS stake
            WHERE outcome = 'applied' AND kind = 'bet' AND verb = 'deduct_balance' AND EXISTS (
                SELECT FROM transfer AS paid WHERE paid.stake_id = stake.id
                    AND paid.outcome = 'applied' AND paid.verb = 'credit_balance' AND NOT EXISTS (
                        SELECT FROM transfer AS undo
                        WHERE undo.original_id = paid.id AND undo.outcome = 'applied'))
            GROUP BY currency
        )
        SELECT count(*) FROM account
        LEFT JOIN bet USING (currency) LEFT JOIN decided USING (currency)
        WHERE name = 'bets_in_play'
            AND balance <> coalesce(bet.amount, 0) - coalesce(decided.amount, 0)
    """,
    # Batches follow each other without a gap, each on the hash before, up to the shard's end.
    "batch_chain_is_broken": """
        WITH link AS (
            SELECT shard, no, hash, no - coalesce(lag(no) OVER w, 0) AS step,
                prev = coalesce(lag(hash) OVER w, '') AS follows, lead(no) OVER w IS NULL AS is_last
            FROM batch WINDOW w AS (PARTITION BY shard ORDER BY no)
        )
        SELECT (SELECT count(*) FROM link WHERE step <> 1 OR NOT follows)
            + (SELECT count(*) FROM shard LEFT JOIN link ON link.shard = shard.shard AND is_last
                WHERE (shard.no, shard.hash) IS DISTINCT FROM
                    (coalesce(link.no, 0), coalesce(link.hash, '')))
            + (SELECT count(*) FROM batch FULL JOIN (
                SELECT shard, batch AS no, count(*) AS transfers FROM transfer GROUP BY shard, batch
                ) AS found USING (shard, no)
                WHERE batch.transfers IS DISTINCT FROM found.transfers)
    """,
    # What an earlier audit saw at the end of a chain is still in it.
    "earlier_audit_saw_another_chain": """
        SELECT count(*) FROM audit_run CROSS JOIN LATERAL jsonb_each(heads) AS head
        LEFT JOIN batch ON batch.shard = head.key::smallint AND batch.no = (head.value->>0)::bigint
        WHERE healthy AND encode(batch.hash, 'hex') IS DISTINCT FROM head.value->>1
    """,
}
"""Each invariant of the ledger, as a query that counts its violations."""
HASHES = "batch_hash_differs"
"""The name of the one that is not a query: the hash of a batch is not that of its transfers."""
ROWS_AT_ONCE = 5_000
EPOCH = datetime.fromtimestamp(0, UTC)
IN_BATCHES = f"""
    SELECT batch.shard, batch.no, batch.at, batch.prev, batch.hash, {store.TRANSFER}
    FROM batch JOIN transfer ON transfer.shard = batch.shard AND transfer.batch = batch.no
    WHERE batch.at >= $1 AND transfer.decided_at >= $1
    ORDER BY batch.shard, batch.no, transfer.id
"""  # noqa: S608 -- the columns are the store's

Heads = dict[str, tuple[int, str]]
"""The ends of the chains, number and hash in hex, by shard."""


async def audit(tx: Tx, *, since: datetime | None = None) -> AuditReport:
    """Count the violations of every invariant; a healthy ledger has none.

    Hashes are computed again for batches from `since` on, without it for all. The numbers are of
    one moment if the transaction is REPEATABLE READ.
    """
    violations = {name: int(await tx.fetchval(query)) for name, query in INVARIANTS.items()}
    violations[HASHES] = len(await changed_batches(tx, since))
    counts = await tx.fetch(
        "SELECT (SELECT count(*) FROM transfer) AS transfers,"
        " (SELECT count(*) FROM entry) AS entries"
    )
    house = await tx.fetch(
        "SELECT name, currency, balance FROM account WHERE user_id IS NULL ORDER BY currency, name"
    )
    return AuditReport(
        healthy=not any(violations.values()),
        violations=violations,
        transfers=counts[0]["transfers"],
        entries=counts[0]["entries"],
        totals={f"{name}:{currency}": balance for name, currency, balance in house},
    )


async def changed_batches(tx: Tx, since: datetime | None = None) -> list[tuple[int, int]]:
    """Return shard and number of each batch whose transfers do not give its hash.

    Batches committed from `since` on, without it all.
    """
    changed: list[tuple[int, int]] = []
    place: tuple[int, int] | None = None
    told, rows = b"", list[tuple[object, ...]]()
    head: tuple[datetime, bytes] = (EPOCH, b"")

    def finish() -> None:
        if place is not None and chain.hash_of(*place, *head, rows) != told:
            changed.append(place)

    async for row in tx.connection.cursor(IN_BATCHES, since or EPOCH, prefetch=ROWS_AT_ONCE):
        if (row[0], row[1]) != place:
            finish()
            place, head, told, rows = (row[0], row[1]), (row[2], row[3]), row[4], []
        rows.append(store.plain(row[5:]))
    finish()
    return changed


async def heads(tx: Tx) -> Heads:
    """Return the ends of the chains now."""
    rows = await tx.fetch("SELECT shard, no, hash FROM shard WHERE no > 0 ORDER BY shard")
    return {str(row["shard"]): (row["no"], row["hash"].hex()) for row in rows}


async def last_sound(tx: Tx) -> datetime | None:
    """Return when the last audit ran that found nothing, None before the first."""
    return await tx.fetchval("SELECT max(ran_at) FROM audit_run WHERE healthy")


async def record(tx: Tx, report: AuditReport, ends: Heads, at: datetime) -> None:
    """Keep what an audit found, and the ends of the chains from before it looked."""
    await tx.execute(
        """
        INSERT INTO audit_run (ran_at, healthy, violations, transfers, entries, heads)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
        """,
        at,
        report.healthy,
        msgspec.json.encode(report.violations).decode(),
        report.transfers,
        report.entries,
        msgspec.json.encode(ends).decode(),
    )


async def main() -> int:
    """Check the whole ledger and print what is wrong; 1 if anything is."""
    url = Settings()["WALLET_DATABASE_URL"]
    connection = await asyncpg.connect(url, server_settings={"timezone": "UTC"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Nobody asks here: no call, no event, so the transaction belongs to no context.
            tx = Tx(connection, cast("Context", None))
            report = await audit(tx)
            changed = await changed_batches(tx) if report.violations[HASHES] else []
    finally:
        await connection.close()
    for name, count in report.violations.items():
        print(f"{'ok  ' if not count else 'BAD '} {name}" + (f": {count}" if count else ""))
    for shard, no in changed:
        print(f"BAD  batch {no} of shard {shard} is not what was committed")
    sound = "sound" if report.healthy else "BROKEN"
    print(f"{report.transfers} transfers, {report.entries} entries: the ledger is {sound}")
    return not report.healthy


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
