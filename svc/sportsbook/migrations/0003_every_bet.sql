-- migrate:up
-- Free bets that players were given: the stake is the house's, so it is not returned.
CREATE TABLE free_bet (
    free_bet_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency char(3) NOT NULL,
    expires_at timestamptz NOT NULL,
    granted_by uuid,
    granted_at timestamptz NOT NULL,
    bet_id uuid
);
CREATE INDEX free_bet_of_user ON free_bet (user_id, free_bet_id DESC);

-- `version` counts what happened to an accepted bet: ids of its payments are derived from it, and a
-- cash-out is held against it. `running` is the part that was not cashed out. `recheck_at`: a live
-- bet waits until then, and its price is checked once more. `odds_policy` says how.
ALTER TABLE bet
    ADD COLUMN version integer NOT NULL DEFAULT 0,
    ADD COLUMN running numeric NOT NULL DEFAULT 1 CHECK (running > 0 AND running <= 1),
    ADD COLUMN cashed_out bigint NOT NULL DEFAULT 0 CHECK (cashed_out >= 0),
    ADD COLUMN free_bet_id uuid,
    ADD COLUMN lucky boolean NOT NULL DEFAULT false,
    ADD COLUMN odds_policy text NOT NULL DEFAULT 'none' CHECK (odds_policy IN ('none', 'higher', 'any')),
    ADD COLUMN recheck_at timestamptz;
ALTER TABLE bet DROP CONSTRAINT bet_result_check;
ALTER TABLE bet ADD CONSTRAINT bet_result_check
    CHECK (result IN ('won', 'lost', 'void', 'partial', 'cashed_out'));
CREATE INDEX bet_of_free_bet ON bet (free_bet_id) WHERE free_bet_id IS NOT NULL;

-- The place half of an each-way leg is a leg of its own, on the market that says who was placed.
-- `deduction`: the part of the winnings that Rule 4 takes after a withdrawal.
ALTER TABLE leg
    ADD COLUMN part text NOT NULL DEFAULT 'win' CHECK (part IN ('win', 'place')),
    ADD COLUMN deduction numeric NOT NULL DEFAULT 0 CHECK (deduction >= 0 AND deduction < 1);
ALTER TABLE leg DROP CONSTRAINT leg_bet_id_event_id_key;
ALTER TABLE leg ADD CONSTRAINT leg_on_event UNIQUE (bet_id, event_id, part);

-- Deductions by Rule 4: for bets struck on a market in the window [from_at, until_at).
CREATE TABLE deduction (
    deduction_id uuid PRIMARY KEY,
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    part numeric NOT NULL CHECK (part > 0 AND part < 1),
    from_at timestamptz NOT NULL,
    until_at timestamptz NOT NULL,
    ordered_by uuid,
    ordered_at timestamptz NOT NULL
);

-- Movements of money that the wallet is told of until it has answered; the id makes each happen once.
CREATE TABLE transfer_order (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id uuid NOT NULL UNIQUE,
    op text NOT NULL CHECK (op IN ('credit_balance', 'rollback')),
    bet_id uuid NOT NULL,
    user_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    currency char(3) NOT NULL,
    kind text NOT NULL CHECK (kind IN ('bet_payout', 'bet_refund')),
    stake_transfer_id uuid,
    original_transfer_id uuid,
    ordered_at timestamptz NOT NULL,
    done_at timestamptz,
    refusal text,
    CHECK ((op = 'rollback') = (original_transfer_id IS NOT NULL))
);
CREATE INDEX transfer_order_waiting ON transfer_order (position) WHERE done_at IS NULL;

-- Offers to buy a bet back, and what was taken of them.
CREATE TABLE cash_out (
    quote_id uuid PRIMARY KEY,
    bet_id uuid NOT NULL REFERENCES bet,
    version integer NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    quoted_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    fraction numeric CHECK (fraction > 0 AND fraction <= 1),
    paid bigint CHECK (paid >= 0),
    transfer_id uuid UNIQUE,
    taken_at timestamptz,
    CHECK (num_nulls(fraction, paid, transfer_id, taken_at) IN (0, 4))
);
CREATE INDEX cash_out_of_bet ON cash_out (bet_id);

-- What the house would lose on an outcome beyond the stakes, over bets that may still win.
CREATE TABLE exposure (
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    outcome_id text NOT NULL,
    amount bigint NOT NULL,
    PRIMARY KEY (event_id, market_id, specifiers, outcome_id)
);

-- migrate:down
