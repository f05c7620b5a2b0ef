-- migrate:up
-- A wallet is moved by the rows themselves: to each wallet goes what the row of its last transfer
-- says (`p_moved` are the places of those rows, `p_before` the seq that each wallet is believed to
-- have), so `write_batch` need not be checked for it; whatever else changes a wallet still is. Everything
-- is one statement with one plan, and arrays are unnested side by side without being stored first.
-- NULL stands for a column that is null throughout, or nought throughout.
-- What is told of a batch follows from its rows too: a row of the outbox names the transfers.
DROP FUNCTION write_batch;
CREATE FUNCTION write_batch(
    p_shard smallint, p_no bigint, p_prev bytea, p_hash bytea, p_at timestamptz,
    p_unmoved text, p_unmoved_seq text, p_moved text, p_before text,
    p_currency text[], p_account text[], p_amount bigint[],
    p_link_id uuid[], p_link_what text[], p_link_transfer uuid[], p_stakes text,
    p_told uuid[], p_subject text, p_body bytea[], p_events int[],
    t_id text, t_verb text, t_outcome text, t_fingerprint bytea[], t_user text,
    t_currency text, t_kind text, t_reference text,
    t_cash text, t_bonus text, t_held text,
    t_cash_after text, t_bonus_after text, t_held_after text, t_seq text,
    t_won text, t_refusal text, t_detail text, t_hold text, t_stake text,
    t_original text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_rows bigint;
    found_shard bigint;
    unmoved uuid[] := p_unmoved;
    stakes uuid[] := p_stakes;
    moved int[] := p_moved;
    ids uuid[] := t_id;
    users uuid[] := t_user;
    seqs bigint[] := t_seq;
    cash_after bigint[] := t_cash_after;
    bonus_after bigint[] := t_bonus_after;
    held_after bigint[] := t_held_after;
BEGIN
    -- Who credits a stake that nobody knows waits until nothing is being written, and lets nobody
    -- write meanwhile: else the stake might just be refused (store.SETTLING_LOCK).
    PERFORM pg_advisory_xact_lock_shared(7201003),
        set_config('wallet.follows_its_rows', 'on', true);
    -- Everybody locks wallets in the order of their ids, then writes ids in order, then the shard:
    -- the insert reads how many wallets moved, and the rest how many ids were written.
    WITH gone AS (
        UPDATE wallet SET seq = seqs[n.place], cash = coalesce(cash_after[n.place], 0),
            bonus = coalesce(bonus_after[n.place], 0), held = coalesce(held_after[n.place], 0),
            last_id = ids[n.place]
        FROM (SELECT unnest(moved) AS place, unnest(p_before::bigint[]) AS seq_before) AS n
        WHERE wallet.user_id = users[n.place] AND wallet.seq = n.seq_before
        RETURNING 1
    ), wallets AS (
        SELECT count(*) AS moved FROM gone
    ), inserted AS (
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            cash_change, bonus_change, held_change, cash_after, bonus_after, held_after, seq,
            won_from_play, refusal, detail, hold_id, stake_id, original_id, decided_at, shard,
            batch)
        SELECT id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            coalesce(cash, 0), coalesce(bonus, 0), coalesce(held, 0), coalesce(cash_then, 0),
            coalesce(bonus_then, 0), coalesce(held_then, 0), seq, coalesce(won, 0), refusal, detail,
            hold_id, stake_id, original_id, p_at, p_shard, p_no
        FROM (
            SELECT unnest(ids) AS id, unnest(t_verb::text[]) AS verb,
                unnest(t_outcome::text[]) AS outcome, unnest(t_fingerprint) AS fingerprint,
                unnest(users) AS user_id, unnest(t_currency::text[]) AS currency,
                unnest(t_kind::text[]) AS kind, unnest(t_reference::text[]) AS reference,
                unnest(t_cash::bigint[]) AS cash, unnest(t_bonus::bigint[]) AS bonus,
                unnest(t_held::bigint[]) AS held, unnest(cash_after) AS cash_then,
                unnest(bonus_after) AS bonus_then, unnest(held_after) AS held_then,
                unnest(seqs) AS seq, unnest(t_won::bigint[]) AS won,
                unnest(t_refusal::text[]) AS refusal,
                unnest(t_detail::text[]) AS detail, unnest(t_hold::uuid[]) AS hold_id,
                unnest(t_stake::uuid[]) AS stake_id, unnest(t_original::uuid[]) AS original_id
            WHERE (SELECT wallets.moved FROM wallets) >= 0
        ) AS t
        RETURNING 1
    ), transfers AS (
        SELECT count(*) AS written FROM inserted
    ), chained AS (
        UPDATE shard SET no = p_no, hash = p_hash
        WHERE shard.shard = p_shard AND shard.no = p_no - 1 AND shard.hash = p_prev
            AND (SELECT written FROM transfers) >= 0
        RETURNING 1
    ), told AS (
        INSERT INTO mesh_outbox (event_id, subject, body, events)
        SELECT unnest(p_told), p_subject, unnest(p_body), unnest(p_events)
    ), booked AS (
        INSERT INTO house (shard, currency, name, balance)
        SELECT p_shard, unnest(p_currency), unnest(p_account), unnest(p_amount)
        ON CONFLICT (shard, currency, name) DO UPDATE SET balance = house.balance + excluded.balance
    ), closed AS (
        INSERT INTO batch (shard, no, transfers, prev, hash, at)
        SELECT p_shard, p_no, written, p_prev, p_hash, p_at FROM transfers
    )
    SELECT wallets.moved, (SELECT count(*) FROM chained) INTO found_rows, found_shard FROM wallets;
    PERFORM set_config('wallet.follows_its_rows', 'off', true);
    IF found_rows <> cardinality(moved) THEN
        RAISE EXCEPTION 'a wallet changed meanwhile' USING ERRCODE = 'WL001';
    END IF;
    IF found_shard = 0 THEN
        RAISE EXCEPTION 'another writer has this shard' USING ERRCODE = 'WL002';
    END IF;
    IF cardinality(unmoved) > 0 THEN
        SELECT count(*) INTO found_rows
        FROM unnest(unmoved, p_unmoved_seq::bigint[]) AS known (user_id, seq)
        JOIN wallet ON wallet.user_id = known.user_id AND wallet.seq = known.seq;
        IF found_rows <> cardinality(unmoved) THEN
            RAISE EXCEPTION 'a wallet changed meanwhile' USING ERRCODE = 'WL001';
        END IF;
    END IF;
    IF cardinality(stakes) > 0 AND EXISTS (
        SELECT FROM link WHERE link.id = ANY(stakes) AND link.what = 'credit'
    ) THEN
        RAISE EXCEPTION 'a stake was credited before it came' USING ERRCODE = 'WL001';
    END IF;
    IF cardinality(p_link_id) > 0 THEN
        INSERT INTO link (id, what, transfer_id)
        SELECT unnest(p_link_id), unnest(p_link_what), unnest(p_link_transfer);
    END IF;
END $$;

-- Whatever else changes a wallet must first have written the transfer that says so.
DROP TRIGGER balance_follows_transfer ON wallet;
CREATE TRIGGER balance_follows_transfer AFTER UPDATE ON wallet
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('wallet.follows_its_rows', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION refuse_balance_without_transfer();

-- migrate:down
