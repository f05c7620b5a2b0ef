-- migrate:up
-- Wallets and transfers are written by one statement: an update locks and verifies at once, so the
-- locks that came before it are gone, and so is a second look at each wallet. `p_unmoved` are the
-- wallets on which refusals rest: nothing of theirs changes, so being as believed is enough.
DROP FUNCTION write_batch;
CREATE FUNCTION write_batch(
    p_shard smallint, p_no bigint, p_prev bytea, p_hash bytea, p_at timestamptz,
    p_unmoved text, p_unmoved_seq text,
    p_users text, p_seq_before text, p_seq text, p_cash text, p_bonus text, p_held text,
    p_last text,
    p_currency text[], p_account text[], p_amount bigint[],
    p_link_id uuid[], p_link_what text[], p_link_transfer uuid[], p_stakes text,
    p_event uuid, p_subject text, p_body bytea, p_events int,
    t_id text, t_verb text, t_outcome text, t_fingerprint bytea[], t_user text,
    t_currency text, t_kind text, t_reference text[],
    t_cash text, t_bonus text, t_held text,
    t_cash_after text, t_bonus_after text, t_held_after text, t_seq text,
    t_won text, t_refusal text[], t_detail text[], t_hold text, t_stake text,
    t_original text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found_rows bigint;
    unmoved uuid[] := p_unmoved;
    users uuid[] := p_users;
    stakes uuid[] := p_stakes;
    ids uuid[] := t_id;
BEGIN
    -- Everybody locks wallets in the order of their ids, then writes ids in order, then the shard:
    -- the insert reads how many wallets moved, so the update is finished before it begins.
    WITH moved AS (
        UPDATE wallet SET seq = n.seq, cash = n.cash, bonus = n.bonus, held = n.held,
            last_id = n.last_id
        FROM unnest(users, p_seq_before::bigint[], p_seq::bigint[], p_cash::bigint[],
            p_bonus::bigint[], p_held::bigint[], p_last::uuid[])
            AS n (user_id, seq_before, seq, cash, bonus, held, last_id)
        WHERE wallet.user_id = n.user_id AND wallet.seq = n.seq_before
        RETURNING 1
    ), counted AS (
        SELECT count(*) AS wallets FROM moved
    ), inserted AS (
        INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
            cash_change, bonus_change, held_change, cash_after, bonus_after, held_after, seq,
            won_from_play, refusal, detail, hold_id, stake_id, original_id, decided_at, shard,
            batch)
        SELECT t.*, p_at, p_shard, p_no FROM unnest(ids, t_verb::text[], t_outcome::text[],
            t_fingerprint, t_user::uuid[], t_currency::text[], t_kind::text[], t_reference,
            t_cash::bigint[], t_bonus::bigint[], t_held::bigint[], t_cash_after::bigint[],
            t_bonus_after::bigint[], t_held_after::bigint[], t_seq::bigint[], t_won::bigint[],
            t_refusal, t_detail, t_hold::uuid[], t_stake::uuid[], t_original::uuid[]) AS t
        WHERE (SELECT wallets FROM counted) >= 0
    )
    SELECT wallets INTO found_rows FROM counted;
    IF found_rows <> cardinality(users) THEN
        RAISE EXCEPTION 'a wallet changed meanwhile' USING ERRCODE = 'WL001';
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
        SELECT * FROM unnest(p_link_id, p_link_what, p_link_transfer);
    END IF;
    WITH chained AS (
        UPDATE shard SET no = p_no, hash = p_hash
        WHERE shard.shard = p_shard AND shard.no = p_no - 1 AND shard.hash = p_prev
        RETURNING 1
    ), told AS (
        INSERT INTO mesh_outbox (event_id, subject, body, events)
        SELECT p_event, p_subject, p_body, p_events WHERE p_events > 0
    ), booked AS (
        INSERT INTO house (shard, currency, name, balance)
        SELECT p_shard, * FROM unnest(p_currency, p_account, p_amount)
        ON CONFLICT (shard, currency, name) DO UPDATE SET balance = house.balance + excluded.balance
    ), closed AS (
        INSERT INTO batch (shard, no, transfers, prev, hash, at)
        VALUES (p_shard, p_no, cardinality(ids), p_prev, p_hash, p_at)
    )
    SELECT count(*) INTO found_rows FROM chained;
    IF found_rows = 0 THEN
        RAISE EXCEPTION 'another writer has this shard' USING ERRCODE = 'WL002';
    END IF;
END $$;

-- migrate:down
