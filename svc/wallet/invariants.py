"""The invariants of the ledger: each a claim, the query that counts what breaks it, and what to do.

The queries join large tables, each row with few others: see `audit.PLANS`.
"""

from msgspec import Struct

from svc.wallet import rules


class Invariant(Struct, frozen=True):
    """What always holds, the count of what breaks it, and the next step for whoever reads it."""

    claim: str
    query: str
    next_step: str


FORCIBLE = ", ".join(f"'{kind}'" for kind in sorted(rules.FORCIBLE))
STAKES = ", ".join(f"'{kind}'" for kind in sorted(rules.STAKES))
INVARIANTS: dict[str, Invariant] = {
    # Money only moves: what one has, another lacks.
    "currency_does_not_sum_to_zero": Invariant(
        "the entries of each currency sum to zero",
        """
            SELECT count(*) FROM (
                SELECT FROM account GROUP BY currency HAVING sum(balance) <> 0) AS v
        """,
        "SELECT currency, name, sum(balance) FROM account GROUP BY 1, 2 shows which account "
        "moved alone",
    ),
    # Who gets and who pays is the kind's: an unknown one would have no other side.
    "entry_without_other_side": Invariant(
        "the entries of each transfer sum to zero",
        """
            SELECT coalesce(sum(moving), 0) FROM (
                SELECT kind, count(*) FILTER (WHERE cash_change <> 0 OR bonus_change <> 0) AS moving
                FROM transfer WHERE outcome = 'applied' GROUP BY kind) AS v
            WHERE house_of(kind) IS NULL
        """,
        "SELECT * FROM entry WHERE contra IS NULL: a kind that house_of does not know was "
        "written past the rules",
    ),
    "balance_is_not_the_sum_of_entries": Invariant(
        "each balance is the sum of its entries",
        """
            WITH own AS (
                SELECT user_id, sum(cash_change) AS cash, sum(bonus_change) AS bonus,
                    sum(held_change) AS held, count(*) AS seq
                FROM transfer WHERE seq IS NOT NULL GROUP BY user_id
            ), moved AS (
                SELECT shard, currency, kind, sum(cash_change + bonus_change) AS money,
                    sum(held_change) AS held, sum(won_from_play) AS won,
                    sum(greatest(held_after - cash_after, 0)
                        - greatest(held_after - held_change - cash_after + cash_change, 0)) AS lent
                FROM transfer WHERE outcome = 'applied' GROUP BY shard, currency, kind
            ), house_own AS (
                SELECT shard, currency, name, sum(amount) AS amount
                FROM moved CROSS JOIN LATERAL (VALUES (house_of(kind), -money), ('holds', -held),
                    ('revenue', won), ('bets_in_play', -won)) AS leg (name, amount)
                GROUP BY shard, currency, name
            ), lent AS (
                SELECT currency, -sum(lent) AS amount FROM moved GROUP BY currency
            )
            SELECT (SELECT count(*) FROM wallet FULL JOIN own USING (user_id)
                WHERE (wallet.cash, wallet.bonus, wallet.held, wallet.seq) IS DISTINCT FROM (
                    coalesce(own.cash, 0), coalesce(own.bonus, 0), coalesce(own.held, 0),
                    coalesce(own.seq, 0)))
                + (SELECT count(*) FROM house FULL JOIN house_own USING (shard, currency, name)
                WHERE coalesce(balance, 0) <> coalesce(amount, 0))
                + (SELECT count(*) FROM account FULL JOIN lent USING (currency)
                WHERE coalesce(name, 'debt') = 'debt'
                    AND coalesce(balance, 0) <> coalesce(amount, 0))
        """,
        "compare wallet and house with entry: the entries are right, unless the chain is broken "
        "too",
    ),
    "account_chain_is_broken": Invariant(
        "each player's balances follow from one entry to the next",
        """
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
        "SELECT * FROM transfer WHERE user_id = '…' ORDER BY seq: look for a gap, then at that "
        "time in the backups",
    ),
    # A balance was never below zero, not even between two transfers that are in order now. Cash is
    # only where money was taken by force or taken back: a recorded debt.
    "balance_below_floor": Invariant(
        "no balance was ever below zero, except a recorded debt",
        f"""
            SELECT (SELECT count(*) FROM wallet WHERE bonus < 0 OR held < 0)
                + (SELECT count(*) FROM transfer WHERE bonus_after < 0 OR held_after < 0
                    OR (cash_after < held_after AND cash_change < held_change AND verb <> 'rollback'
                        AND NOT (verb = 'deduct_balance' AND kind IN ({FORCIBLE}))))
        """,  # noqa: S608 -- the kinds are the rules'
        "SELECT * FROM transfer WHERE cash_after < held_after ORDER BY decided_at: a debt's "
        "first transfer must be forced",
    ),
    # The primary key says so too, unless it is damaged or gone.
    "request_with_several_transfers": Invariant(
        "each accepted request is one transfer",
        """
            SELECT count(*) FROM (SELECT FROM transfer GROUP BY id HAVING count(*) > 1) AS several
        """,
        "SELECT id FROM transfer GROUP BY id HAVING count(*) > 1: the unique index is damaged, "
        "see REINDEX",
    ),
    "refused_request_moved_money": Invariant(
        "no refused request moved anything",
        """
            SELECT count(*) FROM transfer
            WHERE outcome <> 'applied' AND (seq IS NOT NULL OR won_from_play <> 0
                OR (cash_change, bonus_change, held_change) <> (0, 0, 0))
        """,
        "SELECT * FROM transfer WHERE outcome <> 'applied' AND seq IS NOT NULL: adjust it by a "
        "transfer",
    ),
    "transfer_of_another_wallet": Invariant(
        "each transfer is in its wallet's currency",
        """
            SELECT count(*) FROM transfer LEFT JOIN wallet USING (user_id)
            WHERE outcome = 'applied' AND user_id IS NOT NULL
                AND transfer.currency IS DISTINCT FROM wallet.currency
        """,
        "SELECT t.id FROM transfer t JOIN wallet w USING (user_id) WHERE t.currency <> w.currency",
    ),
    "closed_without_its_transfer": Invariant(
        "who is closed was closed by a transfer, and played no more",
        f"""
            SELECT (SELECT count(*) FROM wallet FULL JOIN (
                SELECT DISTINCT user_id FROM transfer WHERE verb = 'close' AND outcome = 'applied'
                ) AS closing USING (user_id)
                WHERE coalesce(closed, false) <> (closing.user_id IS NOT NULL))
                + (SELECT count(*) FROM transfer AS closing JOIN transfer AS later
                    ON later.user_id = closing.user_id AND later.seq > closing.seq
                    WHERE closing.verb = 'close' AND (later.verb = 'hold'
                        OR (later.verb = 'deduct_balance' AND later.kind IN ({STAKES}))))
        """,  # noqa: S608 -- the kinds are the rules'
        "SELECT * FROM transfer WHERE user_id = '…' ORDER BY seq: what came after the closing "
        "was written past the rules",
    ),
    # Decided before the exclusion's end by the clock that decided: later stakes are taken again.
    "excluded_without_its_transfer": Invariant(
        "who is excluded was excluded by a transfer, and staked no more until its end",
        f"""
            SELECT (SELECT count(*) FROM wallet FULL JOIN (
                SELECT user_id, max(reference::timestamptz) AS until FROM transfer
                WHERE verb = 'exclude' AND outcome = 'applied' GROUP BY user_id
                ) AS told USING (user_id)
                WHERE excluded_until IS DISTINCT FROM told.until)
                + (SELECT count(*) FROM transfer AS excluding JOIN transfer AS later
                    ON later.user_id = excluding.user_id AND later.seq > excluding.seq
                        AND later.decided_at < excluding.reference::timestamptz
                    WHERE excluding.verb = 'exclude' AND excluding.outcome = 'applied'
                        AND later.verb IN ('deduct_balance', 'hold') AND later.kind IN ({STAKES}))
        """,  # noqa: S608 -- the kinds are the rules'
        "SELECT * FROM transfer WHERE user_id = '…' ORDER BY seq: what came after the exclusion "
        "was written past the rules",
    ),
    # At most one rollback by a unique index; it gives back exactly what was taken, of bonus money
    # at least what was left.
    "rollback_differs_from_its_original": Invariant(
        "each rollback gives back what was taken",
        """
            SELECT count(*) FROM transfer AS undo JOIN transfer AS original
                ON original.id = undo.original_id
            WHERE undo.outcome = 'applied' AND (original.outcome NOT IN ('applied', 'tombstone')
                OR undo.user_id IS DISTINCT FROM original.user_id
                OR undo.cash_change <> -original.cash_change
                OR undo.held_change <> -original.held_change
                OR (undo.bonus_change <> -original.bonus_change
                    AND (undo.bonus_after > 0 OR undo.bonus_change < -original.bonus_change)))
        """,
        "SELECT * FROM transfer WHERE id or original_id is the rollback's, then adjust the "
        "difference by a transfer",
    ),
    "link_differs_from_its_transfer": Invariant(
        "what was done on top of a transfer is known, once",
        """
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
        "compare link with original_id, hold_id and stake_id of transfer; links follow from "
        "transfers",
    ),
    "held_is_not_the_sum_of_open_holds": Invariant(
        "what is held is the sum of open holds",
        """
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
        "SELECT * FROM transfer WHERE hold_id IS NOT NULL AND user_id = '…' ORDER BY seq",
    ),
    # Stakes stay in play until a credit decides their bet.
    "in_play_is_not_the_sum_of_open_bets": Invariant(
        "what is in play is the sum of open bets",
        """
            WITH bet AS (
                SELECT currency, -sum(cash_change + bonus_change) AS amount FROM transfer
                WHERE outcome = 'applied' AND kind = 'bet' GROUP BY currency
            ), paid AS (
                SELECT id, stake_id FROM transfer
                WHERE outcome = 'applied' AND verb = 'credit_balance' AND stake_id IS NOT NULL
            ), standing AS (
                SELECT DISTINCT paid.stake_id FROM paid
                LEFT JOIN transfer AS undo
                    ON undo.original_id = paid.id AND undo.outcome = 'applied'
                WHERE undo.id IS NULL
            ), decided AS (
                SELECT currency, -sum(cash_change + bonus_change) AS amount
                FROM transfer JOIN standing ON standing.stake_id = transfer.id
                WHERE outcome = 'applied' AND kind = 'bet' AND verb = 'deduct_balance'
                GROUP BY currency
            )
            SELECT count(*) FROM account
            LEFT JOIN bet USING (currency) LEFT JOIN decided USING (currency)
            WHERE name = 'bets_in_play'
                AND balance <> coalesce(bet.amount, 0) - coalesce(decided.amount, 0)
        """,
        "SELECT * FROM entry WHERE 'bets_in_play' IN (account, contra) ORDER BY decided_at",
    ),
    # Batches follow each other without a gap, each on the hash before, up to the shard's end.
    "batch_chain_is_broken": Invariant(
        "the chain of batches has no gap up to its end",
        """
            WITH link AS (
                SELECT shard, no, hash, no - coalesce(lag(no) OVER w, 0) AS step,
                    prev = coalesce(lag(hash) OVER w, '') AS follows,
                    lead(no) OVER w IS NULL AS is_last
                FROM batch WINDOW w AS (PARTITION BY shard ORDER BY no)
            )
            SELECT (SELECT count(*) FROM link WHERE step <> 1 OR NOT follows)
                + (SELECT count(*) FROM shard LEFT JOIN link ON link.shard = shard.shard AND is_last
                    WHERE (shard.no, shard.hash) IS DISTINCT FROM
                        (coalesce(link.no, 0), coalesce(link.hash, '')))
                + (SELECT count(*) FROM batch FULL JOIN (
                    SELECT shard, batch AS no, count(*) AS transfers
                    FROM transfer GROUP BY shard, batch
                    ) AS found USING (shard, no)
                    WHERE batch.transfers IS DISTINCT FROM found.transfers)
        """,
        "stop the wallet and compare batch and shard with a backup: rows were removed or added",
    ),
    # What an earlier audit saw at the end of a chain is still in it.
    "earlier_audit_saw_another_chain": Invariant(
        "what earlier audits saw is still there",
        """
            -- Read first: nobody is to look through all batches for each audit there was.
            WITH seen AS MATERIALIZED (
                SELECT key::smallint AS shard, (value->>0)::bigint AS no, value->>1 AS hash
                FROM audit_run CROSS JOIN LATERAL jsonb_each(heads) WHERE healthy)
            SELECT count(*) FROM seen LEFT JOIN batch USING (shard, no)
            WHERE encode(batch.hash, 'hex') IS DISTINCT FROM seen.hash
        """,
        "SELECT ran_at, heads FROM audit_run ORDER BY ran_at DESC: the end of the chain was cut "
        "after that audit",
    ),
}
HASHES = "batch_hash_differs"
EVENT_WITHOUT_ENTRY = "event_without_its_entry"
ENTRY_WITHOUT_EVENT = "entry_without_its_event"
OTHERS = {
    HASHES: (
        "each batch still has the hash that it was committed with",
        "compare the transfers of the batches named below with a backup: they were changed",
    ),
    EVENT_WITHOUT_ENTRY: (
        "each BalanceChangedEvent matches its entry",
        "./just nats stream view WALLET: somebody else published, or a commit was lost",
    ),
    ENTRY_WITHOUT_EVENT: (
        "each entry has its BalanceChangedEvent",
        "if mesh_outbox is empty too, those who follow balances must be told by hand",
    ),
}
"""What no query alone can count: claim and next step."""
CLAIMS = {name: (one.claim, one.next_step) for name, one in INVARIANTS.items()} | OTHERS
