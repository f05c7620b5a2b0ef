-- migrate:up
-- A wallet is a player and the one currency in which the player's money is kept.
CREATE TABLE wallet (
    user_id uuid PRIMARY KEY,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    opened_at timestamptz NOT NULL,
    UNIQUE (user_id, currency)
);

-- Three accounts for each player, and the house's accounts (user_id is null) for each currency.
-- `held` is part of `cash`: what is held raises the floor below which cash cannot fall.
CREATE TABLE account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    name text NOT NULL,
    balance bigint NOT NULL DEFAULT 0,
    floor bigint DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0 CHECK (seq >= 0),
    CONSTRAINT one_of_each UNIQUE NULLS NOT DISTINCT (user_id, currency, name),
    UNIQUE (id, currency),
    CONSTRAINT currency_of_wallet
        FOREIGN KEY (user_id, currency) REFERENCES wallet (user_id, currency),
    CONSTRAINT no_overdraft CHECK (balance >= floor),
    CHECK (floor >= 0 AND (floor = 0 OR name = 'cash')),
    CHECK ((user_id IS NULL) = (floor IS NULL)),
    CHECK (CASE WHEN user_id IS NULL
        THEN name IN ('bets_in_play', 'revenue', 'casino', 'provider_clearing', 'promotions',
            'prizes', 'adjustments', 'holds')
        ELSE name IN ('cash', 'bonus', 'held') END)
) WITH (fillfactor = 70);

-- Every request that was ever decided, under the id its caller chose: what was asked (fingerprint),
-- what came of it, what it changed for the player, and the balances right after. Append-only.
-- A tombstone stands under the id of a transfer that was rolled back before it came.
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
    refusal text,
    detail text,
    hold_id uuid,
    stake_id uuid,
    original_id uuid,
    decided_at timestamptz NOT NULL,
    FOREIGN KEY (user_id, currency) REFERENCES wallet (user_id, currency),
    CHECK ((outcome = 'refused') = (refusal IS NOT NULL)),
    CHECK ((refusal IS NULL) = (detail IS NULL)),
    CONSTRAINT only_applied_moves_money
        CHECK (outcome = 'applied' OR (cash_change = 0 AND bonus_change = 0 AND held_change = 0)),
    CHECK ((verb = 'rollback' AND outcome <> 'tombstone') = (original_id IS NOT NULL)),
    CHECK (outcome <> 'no_effect' OR verb = 'rollback'),
    CHECK (outcome <> 'applied' OR verb = 'rollback'
        OR (user_id IS NOT NULL AND currency IS NOT NULL AND kind IS NOT NULL)),
    CHECK (cash_after >= held_after AND bonus_after >= 0 AND held_after >= 0)
);
CREATE UNIQUE INDEX transfer_undone_once ON transfer (original_id)
    WHERE outcome = 'applied' AND original_id IS NOT NULL;
CREATE UNIQUE INDEX hold_placed_once ON transfer (hold_id)
    WHERE outcome = 'applied' AND verb = 'hold' AND hold_id IS NOT NULL;
CREATE UNIQUE INDEX hold_closed_once ON transfer (hold_id)
    WHERE outcome = 'applied' AND verb <> 'hold' AND hold_id IS NOT NULL;
CREATE INDEX transfer_of_stake ON transfer (stake_id)
    WHERE outcome = 'applied' AND stake_id IS NOT NULL;
CREATE INDEX transfer_by_time ON transfer USING brin (decided_at);

-- One entry is both legs of a movement: `amount` to the account and the same from the contra
-- account, so every transfer sums to zero by construction, in one currency by foreign key.
CREATE TABLE entry (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT uuidv7(),
    transfer_id uuid NOT NULL REFERENCES transfer,
    user_id uuid,
    account_id bigint NOT NULL,
    contra_id bigint NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL CONSTRAINT not_nothing CHECK (amount <> 0),
    seq bigint,
    balance_after bigint,
    FOREIGN KEY (account_id, currency) REFERENCES account (id, currency),
    CONSTRAINT one_currency FOREIGN KEY (contra_id, currency) REFERENCES account (id, currency),
    UNIQUE (account_id, seq),
    CONSTRAINT two_sides CHECK (account_id <> contra_id),
    CHECK ((user_id IS NULL) = (seq IS NULL) AND (user_id IS NULL) = (balance_after IS NULL))
);
CREATE INDEX entry_of_player ON entry (user_id, position) WHERE user_id IS NOT NULL;
CREATE INDEX entry_of_transfer ON entry (transfer_id);

-- What the hourly audit found.
CREATE TABLE audit_run (
    ran_at timestamptz PRIMARY KEY,
    healthy boolean NOT NULL,
    violations jsonb NOT NULL,
    transfers bigint NOT NULL,
    entries bigint NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER transfer_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entry_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Only an applied transfer moves money.
CREATE FUNCTION refuse_entry_without_effect() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT outcome FROM transfer WHERE id = NEW.transfer_id) IS DISTINCT FROM 'applied' THEN
        RAISE EXCEPTION 'transfer % moved nothing: it can have no entries', NEW.transfer_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER entry_of_an_applied_transfer BEFORE INSERT ON entry
    FOR EACH ROW EXECUTE FUNCTION refuse_entry_without_effect();

-- At commit a player's balance must be the one after the account's last entry.
CREATE FUNCTION refuse_balance_without_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.balance IS DISTINCT FROM coalesce(
        (SELECT balance_after FROM entry WHERE account_id = NEW.id AND seq = NEW.seq), 0
    ) THEN
        RAISE EXCEPTION 'account %: balance % does not follow from its entries', NEW.id, NEW.balance
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balance_follows_entries AFTER INSERT OR UPDATE ON account
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.user_id IS NOT NULL)
    EXECUTE FUNCTION refuse_balance_without_entry();

-- migrate:down
