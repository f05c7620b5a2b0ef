"""SQL that reads the ledger and moves nothing: balances, statements, totals and the audit."""

from datetime import datetime
from typing import Any

import msgspec

from svc.mesh.database import Tx
from svc.wallet.contract import AuditReport, KindTotal

INVARIANTS = {
    # Money only moves: what one has, another lacks.
    "currency_does_not_sum_to_zero": """
        SELECT count(*) FROM (SELECT FROM account GROUP BY currency HAVING sum(balance) <> 0) AS v
    """,
    "balance_is_not_the_sum_of_entries": """
        WITH sums AS (
            SELECT id, sum(amount) AS amount FROM (
                SELECT account_id AS id, amount FROM entry
                UNION ALL SELECT contra_id, -amount FROM entry
            ) AS legs GROUP BY id
        )
        SELECT count(*) FROM account LEFT JOIN sums USING (id)
        WHERE balance <> coalesce(amount, 0)
    """,
    # A balance was never below zero, not even between two entries that are in order now.
    "balance_below_floor": """
        SELECT (SELECT count(*) FROM account WHERE balance < floor)
            + (SELECT count(*) FROM entry WHERE balance_after < 0)
            + (SELECT count(*) FROM transfer WHERE cash_after < held_after)
    """,
    "account_chain_is_broken": """
        WITH chain AS (
            SELECT account_id, seq, balance_after,
                seq - coalesce(lag(seq) OVER w, 0) AS step,
                balance_after - coalesce(lag(balance_after) OVER w, 0) - amount AS error,
                lead(seq) OVER w IS NULL AS is_last
            FROM entry WHERE seq IS NOT NULL WINDOW w AS (PARTITION BY account_id ORDER BY seq)
        )
        SELECT count(*) FROM account LEFT JOIN chain ON account_id = id
        WHERE user_id IS NOT NULL AND (step <> 1 OR error <> 0
            OR (is_last AND (balance <> balance_after OR account.seq <> chain.seq))
            OR (account_id IS NULL AND (balance <> 0 OR account.seq <> 0)))
    """,
    # What a transfer says that it changed is what its entries changed, and others have none.
    "transfer_differs_from_its_entries": """
        WITH moved AS (
            SELECT transfer_id, sum(amount) FILTER (WHERE name = 'cash') AS cash,
                sum(amount) FILTER (WHERE name = 'bonus') AS bonus,
                sum(amount) FILTER (WHERE name = 'held') AS held
            FROM entry JOIN account ON account.id = account_id GROUP BY transfer_id
        )
        SELECT count(*) FROM transfer LEFT JOIN moved ON transfer_id = id
        WHERE (cash_change, bonus_change, held_change)
                <> (coalesce(cash, 0), coalesce(bonus, 0), coalesce(held, 0))
            OR (outcome <> 'applied' AND transfer_id IS NOT NULL)
    """,
    "entry_between_wrong_accounts": """
        SELECT count(*) FROM entry
        JOIN account AS own ON own.id = account_id JOIN account AS contra ON contra.id = contra_id
        WHERE own.user_id IS DISTINCT FROM entry.user_id OR contra.user_id IS NOT NULL
            OR own.currency <> contra.currency
    """,
    # At most one rollback by a unique index; it gives back exactly what was taken.
    "rollback_differs_from_its_original": """
        SELECT count(*) FROM transfer AS undo JOIN transfer AS original
            ON original.id = undo.original_id
        WHERE undo.outcome = 'applied' AND (original.outcome NOT IN ('applied', 'tombstone')
            OR undo.user_id IS DISTINCT FROM original.user_id
            OR (undo.cash_change, undo.bonus_change, undo.held_change)
                <> (-original.cash_change, -original.bonus_change, -original.held_change))
    """,
    "held_is_not_the_sum_of_open_holds": """
        WITH open AS (
            SELECT user_id, sum(held_change) AS held FROM transfer AS hold
            WHERE outcome = 'applied' AND verb = 'hold' AND NOT EXISTS (
                SELECT FROM transfer AS closing WHERE closing.outcome = 'applied'
                    AND closing.verb <> 'hold' AND closing.hold_id = hold.hold_id)
            GROUP BY user_id
        )
        SELECT count(*) FROM account LEFT JOIN open USING (user_id)
        WHERE (name = 'held' AND balance <> coalesce(held, 0))
            OR (name = 'cash' AND floor <> coalesce(held, 0))
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
}
"""Each invariant of the ledger, as a query that counts its violations."""


async def accounts_of(tx: Tx, user_id: str) -> tuple[str, dict[str, int]] | None:
    """Return a player's currency and balances by account, None without a wallet."""
    rows = await tx.fetch(
        "SELECT currency, name, balance FROM account WHERE user_id = $1 ORDER BY id", user_id
    )
    return (rows[0]["currency"], {row["name"]: row["balance"] for row in rows}) if rows else None


async def entries_of(tx: Tx, user_id: str, before: int | None, limit: int) -> list[Any]:
    """Return a player's entries before a position, newest first, at most `limit`."""
    return await tx.fetch(
        """
        SELECT position, entry.id, transfer_id, account.name, amount, balance_after, kind,
            reference, decided_at
        FROM entry
        JOIN account ON account.id = account_id
        JOIN transfer ON transfer.id = transfer_id
        WHERE entry.user_id = $1 AND position < coalesce($2, 9223372036854775807)
        ORDER BY position DESC
        LIMIT $3
        """,
        user_id,
        before,
        limit,
    )


async def totals(tx: Tx, since: datetime, until: datetime) -> list[KindTotal]:
    """Return what each kind of transfer moved for players in [since, until), rollbacks netted."""
    rows = await tx.fetch(
        """
        SELECT kind, currency, sum(cash_change + bonus_change)::bigint, count(*)
        FROM transfer
        WHERE decided_at >= $1 AND decided_at < $2 AND outcome = 'applied'
            AND (cash_change <> 0 OR bonus_change <> 0)
        GROUP BY kind, currency
        ORDER BY kind, currency
        """,
        since,
        until,
    )
    return [
        KindTotal(kind=kind, currency=currency, amount=amount, transfers=transfers)
        for kind, currency, amount, transfers in rows
    ]


async def audit(tx: Tx) -> AuditReport:
    """Count the violations of every invariant; a healthy ledger has none."""
    violations = {name: int(await tx.fetchval(query)) for name, query in INVARIANTS.items()}
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


async def record_audit(tx: Tx, report: AuditReport, at: datetime) -> None:
    """Keep what an audit found."""
    await tx.execute(
        """
        INSERT INTO audit_run (ran_at, healthy, violations, transfers, entries)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
        """,
        at,
        report.healthy,
        msgspec.json.encode(report.violations).decode(),
        report.transfers,
        report.entries,
    )
