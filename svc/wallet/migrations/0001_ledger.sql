-- migrate:up
-- A wallet is a player's money in one currency. `held` is part of `cash`. `seq` counts the applied
-- transfers of the player, and `last_id` is the last of them: the balances are the ones after it.
CREATE TABLE wallet (
    user_id uuid PRIMARY KEY,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    cash bigint NOT NULL DEFAULT 0,
    bonus bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    last_id uuid,
    opened_at timestamptz NOT NULL,
    CONSTRAINT no_overdraft CHECK (cash >= held AND bonus >= 0 AND held >= 0),
    CHECK ((seq = 0) = (last_id IS NULL)),
    CONSTRAINT opened_empty CHECK (seq > 0 OR (cash = 0 AND bonus = 0))
) WITH (fillfactor = 70);

-- The house's accounts, one set per shard: each writer of transfers owns a shard, so that nobody
-- waits for the house. An account's balance is the sum of its shards.
CREATE TABLE house (
    shard smallint NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    name text NOT NULL CHECK (name IN ('bets_in_play', 'revenue', 'casino', 'provider_clearing',
        'promotions', 'prizes', 'adjustments', 'holds')),
    balance bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, currency, name)
) WITH (fillfactor = 50);

-- Where each shard's chain of batches ends; a writer that is not at this end writes nothing.
CREATE TABLE shard (
    shard smallint PRIMARY KEY CHECK (shard > 0),
    no bigint NOT NULL DEFAULT 0 CHECK (no >= 0),
    hash bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 50);

-- The transfers that were committed together: `hash` covers them and the hash before, so that a
-- changed, added or removed transfer or batch is found. Append-only.
CREATE TABLE batch (
    shard smallint NOT NULL REFERENCES shard,
    no bigint NOT NULL CHECK (no > 0),
    transfers int NOT NULL CHECK (transfers > 0),
    prev bytea NOT NULL,
    hash bytea NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (shard, no)
);

-- Every request that was ever decided, under the id its caller chose: what was asked (fingerprint),
-- what came of it, what it changed for the player, and the balances right after. Append-only.
-- A row holds both legs of each of its movements: what it changes for the player, the house
-- account of its kind pays or gets (see the view `entry`), so it sums to zero by construction.
-- A tombstone stands under the id of a transfer that was rolled back before it came.
-- Partitions are the months of UUIDv7 ids; ids of other kinds stand in the default partition.
CREATE TABLE transfer (
    id uuid PRIMARY KEY,
    verb text NOT NULL CHECK (verb IN ('deduct_balance', 'credit_balance', 'hold', 'capture',
        'release', 'rollback')),
    outcome text NOT NULL CHECK (outcome IN ('applied', 'no_effect', 'refused', 'tombstone')),
    fingerprint bytea NOT NULL,
    user_id uuid,
    currency text,
    kind text,
    reference text,
    cash_change bigint NOT NULL DEFAULT 0,
    bonus_change bigint NOT NULL DEFAULT 0,
    held_change bigint NOT NULL DEFAULT 0,
    cash_after bigint NOT NULL DEFAULT 0,
    bonus_after bigint NOT NULL DEFAULT 0,
    held_after bigint NOT NULL DEFAULT 0,
    seq bigint,
    won_from_play bigint NOT NULL DEFAULT 0,
    refusal text,
    detail text,
    hold_id uuid,
    stake_id uuid,
    original_id uuid,
    decided_at timestamptz NOT NULL,
    shard smallint NOT NULL,
    batch bigint NOT NULL,
    CHECK ((outcome = 'refused') = (refusal IS NOT NULL)),
    CHECK ((refusal IS NULL) = (detail IS NULL)),
    CONSTRAINT only_applied_moves_money CHECK (outcome = 'applied'
        OR (cash_change = 0 AND bonus_change = 0 AND held_change = 0 AND won_from_play = 0)),
    CHECK ((verb = 'rollback' AND outcome <> 'tombstone') = (original_id IS NOT NULL)),
    CHECK (outcome <> 'no_effect' OR verb = 'rollback'),
    CHECK (outcome <> 'applied' OR verb = 'rollback'
        OR (user_id IS NOT NULL AND currency IS NOT NULL AND kind IS NOT NULL)),
    CONSTRAINT applied_in_order
        CHECK ((outcome = 'applied' AND user_id IS NOT NULL) = (seq IS NOT NULL)),
    CONSTRAINT no_balance_below_zero
        CHECK (cash_after >= held_after AND bonus_after >= 0 AND held_after >= 0)
) PARTITION BY RANGE (id);
CREATE INDEX transfer_by_time ON transfer USING brin (decided_at);

-- What was done on top of a transfer or hold: its rollback, the hold's placing and closing (once
-- each), and the credits of a stake. It follows from the applied transfers.
CREATE TABLE link (
    id uuid NOT NULL,
    what text NOT NULL CHECK (what IN ('rollback', 'hold', 'close', 'credit')),
    transfer_id uuid NOT NULL,
    PRIMARY KEY (id, what, transfer_id)
);
CREATE UNIQUE INDEX linked_once ON link (id, what) WHERE what <> 'credit';

CREATE FUNCTION house_of(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'bet' THEN 'bets_in_play'
        WHEN 'bet_payout' THEN 'revenue' WHEN 'bet_refund' THEN 'revenue'
        WHEN 'casino_bet' THEN 'casino' WHEN 'casino_payout' THEN 'casino'
        WHEN 'deposit' THEN 'provider_clearing' WHEN 'withdrawal' THEN 'provider_clearing'
        WHEN 'refund' THEN 'provider_clearing'
        WHEN 'bonus' THEN 'promotions' WHEN 'bonus_expiry' THEN 'promotions'
        WHEN 'prize' THEN 'prizes'
        WHEN 'adjustment' THEN 'adjustments'
    END
$$;

-- The movements, one line each: `amount` comes to `account` and goes from `contra`.
CREATE VIEW entry AS
SELECT transfer.id AS transfer_id, user_id, seq, account, contra, currency, amount, balance_after,
    kind, reference, decided_at, shard, batch
FROM transfer CROSS JOIN LATERAL (VALUES
    ('cash', house_of(kind), cash_change, cash_after),
    ('bonus', house_of(kind), bonus_change, bonus_after),
    ('held', 'holds', held_change, held_after),
    ('revenue', 'bets_in_play', won_from_play, NULL)
) AS leg (account, contra, amount, balance_after)
WHERE outcome = 'applied' AND amount <> 0;

-- All accounts and their balances; the house's have no user.
CREATE VIEW account AS
SELECT user_id, currency, name, balance FROM wallet CROSS JOIN LATERAL (VALUES
    ('cash', cash), ('bonus', bonus), ('held', held)) AS own (name, balance)
UNION ALL
SELECT NULL, currency, name, sum(balance)::bigint FROM house GROUP BY currency, name;

-- What the hourly audit found; `heads` are the ends of the chains that it saw.
CREATE TABLE audit_run (
    ran_at timestamptz PRIMARY KEY,
    healthy boolean NOT NULL,
    violations jsonb NOT NULL,
    transfers bigint NOT NULL,
    entries bigint NOT NULL,
    heads jsonb NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batch
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON link
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Whatever changes a wallet must first have written the transfer that says so.
CREATE FUNCTION refuse_balance_without_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong uuid;
BEGIN
    -- A subquery per row, never a join: the plan must not depend on the table's size.
    SELECT changed.user_id INTO wrong FROM changed WHERE changed.seq > 0 AND (
        SELECT (t.user_id, t.currency, t.seq, t.cash_after, t.bonus_after, t.held_after)
            = (changed.user_id, changed.currency, changed.seq, changed.cash, changed.bonus,
                changed.held)
        FROM transfer AS t WHERE t.id = changed.last_id
    ) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'wallet %: its balances do not follow from its last transfer', wrong
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER balance_follows_transfer AFTER UPDATE ON wallet
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_balance_without_transfer();
CREATE TRIGGER opened_without_transfer AFTER INSERT ON wallet
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_balance_without_transfer();

-- Prepare the partitions of some months from one on. A month of which the default partition
-- already holds ids is left to it.
CREATE FUNCTION make_partitions(first date, months int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    begins timestamptz;
    name text;
    made int := 0;
BEGIN
    FOR i IN 0 .. months - 1 LOOP
        begins := (date_trunc('month', first::timestamp) + make_interval(months => i))
            AT TIME ZONE 'UTC';
        name := 'transfer_' || to_char(begins AT TIME ZONE 'UTC', 'YYYY_MM');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE %I PARTITION OF transfer FOR VALUES FROM (%L) TO (%L)',
                name, first_id_of(begins),
                first_id_of((begins AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'));
            PERFORM guard_partition(name);
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'the default partition already has ids of %', name;
        END;
    END LOOP;
    RETURN made;
END $$;

-- The first UUIDv7 of an instant.
CREATE FUNCTION first_id_of(instant timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM instant) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

CREATE FUNCTION guard_partition(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A player's transfers in order: the statement, and that no place is taken twice.
    EXECUTE format(
        'CREATE UNIQUE INDEX %I ON %I (user_id, seq) WHERE seq IS NOT NULL', name || '_order', name);
    EXECUTE format('CREATE TRIGGER is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
END $$;

CREATE TABLE transfer_other PARTITION OF transfer DEFAULT;
SELECT guard_partition('transfer_other');
SELECT make_partitions(current_date, 4);

-- Write one batch of decided transfers, all or nothing. The caller owns the shard, and the wallets
-- are as the caller believes (`seq_before`); anything else raises, and nothing is written.
-- Most arrays come as text: their form is much cheaper to make than the binary one. NULL stands
-- for a column that is null throughout.
CREATE FUNCTION write_batch(
    p_shard smallint, p_no bigint, p_prev bytea, p_hash bytea, p_at timestamptz,
    p_seen text, p_seen_seq text,
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
    seen uuid[] := p_seen;
    users uuid[] := p_users;
    stakes uuid[] := p_stakes;
    ids uuid[] := t_id;
BEGIN
    -- Everybody locks wallets in the order of their ids, then writes ids in order, then the shard.
    IF cardinality(seen) > 0 THEN
        SELECT count(*) INTO found_rows FROM (
            SELECT wallet.seq, known.seq AS believed
            FROM unnest(seen, p_seen_seq::bigint[]) AS known (user_id, seq)
            JOIN wallet ON wallet.user_id = known.user_id
            ORDER BY wallet.user_id
            FOR NO KEY UPDATE OF wallet
        ) AS locked WHERE locked.seq = locked.believed;
        IF found_rows <> cardinality(seen) THEN
            RAISE EXCEPTION 'a wallet changed meanwhile' USING ERRCODE = 'WL001';
        END IF;
    END IF;
    INSERT INTO transfer (id, verb, outcome, fingerprint, user_id, currency, kind, reference,
        cash_change, bonus_change, held_change, cash_after, bonus_after, held_after, seq,
        won_from_play, refusal, detail, hold_id, stake_id, original_id, decided_at, shard, batch)
    SELECT t.*, p_at, p_shard, p_no FROM unnest(ids, t_verb::text[], t_outcome::text[],
        t_fingerprint, t_user::uuid[], t_currency::text[], t_kind::text[], t_reference,
        t_cash::bigint[], t_bonus::bigint[], t_held::bigint[], t_cash_after::bigint[],
        t_bonus_after::bigint[], t_held_after::bigint[], t_seq::bigint[], t_won::bigint[],
        t_refusal, t_detail, t_hold::uuid[], t_stake::uuid[], t_original::uuid[]) AS t;
    IF cardinality(users) > 0 THEN
        UPDATE wallet SET seq = n.seq, cash = n.cash, bonus = n.bonus, held = n.held,
            last_id = n.last_id
        FROM unnest(users, p_seq_before::bigint[], p_seq::bigint[], p_cash::bigint[],
            p_bonus::bigint[], p_held::bigint[], p_last::uuid[])
            AS n (user_id, seq_before, seq, cash, bonus, held, last_id)
        WHERE wallet.user_id = n.user_id AND wallet.seq = n.seq_before;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        IF found_rows <> cardinality(users) THEN
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
    IF p_events > 0 THEN
        INSERT INTO mesh_outbox (event_id, subject, body, events)
        VALUES (p_event, p_subject, p_body, p_events);
    END IF;
    UPDATE shard SET no = p_no, hash = p_hash
    WHERE shard.shard = p_shard AND shard.no = p_no - 1 AND shard.hash = p_prev;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another writer has this shard' USING ERRCODE = 'WL002';
    END IF;
    INSERT INTO batch (shard, no, transfers, prev, hash, at)
    VALUES (p_shard, p_no, cardinality(ids), p_prev, p_hash, p_at);
    INSERT INTO house (shard, currency, name, balance)
    SELECT p_shard, * FROM unnest(p_currency, p_account, p_amount)
    ON CONFLICT (shard, currency, name) DO UPDATE SET balance = house.balance + excluded.balance;
END $$;

-- migrate:down
