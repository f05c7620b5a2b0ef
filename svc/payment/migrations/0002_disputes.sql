-- migrate:up
-- What was captured of a deposit, when that is less than was asked for.
ALTER TABLE deposits ADD COLUMN received bigint CHECK (received > 0 AND received <= amount);

-- Chargebacks. The provider's sums only grow, so its news may come in any order; what we booked of
-- them is fixed when the wallet is asked, since a transfer has one body for ever.
CREATE TABLE disputes (
    dispute_id uuid PRIMARY KEY,
    provider_id text NOT NULL UNIQUE,
    deposit_id uuid NOT NULL REFERENCES deposits,
    user_id uuid NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reason text NOT NULL,
    outcome text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'lost', 'won')),
    -- What the provider took from us (the disputed amount and its fee), and gave back.
    taken bigint NOT NULL CHECK (taken >= 0),
    returned bigint NOT NULL CHECK (returned >= 0),
    state text NOT NULL DEFAULT 'noted' CHECK (state IN (
        'noted', 'debiting', 'debited', 'crediting', 'credited'
    )),
    debited bigint NOT NULL DEFAULT 0 CHECK (debited >= 0),
    credited bigint NOT NULL DEFAULT 0 CHECK (credited >= 0),
    debit_transfer_id uuid NOT NULL UNIQUE,
    credit_transfer_id uuid NOT NULL UNIQUE,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (state = 'noted' OR debited > 0),
    CHECK ((state IN ('crediting', 'credited')) = (credited > 0))
);
CREATE INDEX disputes_of_deposit ON disputes (deposit_id);
CREATE INDEX disputes_open ON disputes (user_id) WHERE outcome = 'open' OR state = 'debiting';
CREATE INDEX disputes_due ON disputes (next_try_at) WHERE state IN ('debiting', 'crediting');

-- What the provider says it moved of our money, as it lists it, signed from the player's side.
CREATE TABLE statement (
    movement_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('deposit', 'refund', 'withdrawal', 'chargeback')),
    -- The payment, payout or dispute at the provider.
    provider_id text NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    moved_at timestamptz NOT NULL
);
CREATE INDEX statement_of ON statement (kind, provider_id);

-- What each comparison of provider, books and ledger found; `until` is how far it looked.
CREATE TABLE reconciliations (
    reconciliation_id uuid PRIMARY KEY,
    until timestamptz NOT NULL,
    differences integer NOT NULL CHECK (differences >= 0),
    report jsonb NOT NULL
);
CREATE INDEX reconciliations_until ON reconciliations (until);

-- migrate:down
