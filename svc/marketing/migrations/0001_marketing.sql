-- migrate:up
-- What marketing knows of a player; the first event about them makes the row, whichever it is.
CREATE TABLE players (
    user_id uuid PRIMARY KEY,
    locale text NOT NULL DEFAULT 'en',
    marketing_opt_in boolean NOT NULL DEFAULT false,
    excluded_until timestamptz,
    -- The wallet's own words, kept to see when a bonus is played out; it never decides about money.
    bonus_balance bigint CHECK (bonus_balance >= 0),
    balance_at timestamptz,
    points bigint NOT NULL DEFAULT 0,
    tier text NOT NULL DEFAULT 'bronze' CHECK (tier IN ('bronze', 'silver', 'gold', 'platinum'))
);

CREATE TABLE awards (
    award_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES players,
    campaign text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('cash', 'bonus', 'free_spins')),
    amount bigint NOT NULL CHECK (amount >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    spins integer NOT NULL CHECK (spins >= 0),
    status text NOT NULL DEFAULT 'active'
        CHECK (status IN ('active', 'completed', 'expired', 'forfeited')),
    transfer_id uuid NOT NULL UNIQUE,
    awarded_at timestamptz NOT NULL,
    credited_at timestamptz,
    expires_at timestamptz,
    closed_at timestamptz CHECK ((closed_at IS NULL) = (status = 'active')),
    -- A campaign awards a player once, however often its cause is told.
    UNIQUE (campaign, user_id),
    CHECK ((kind = 'free_spins') = (spins > 0 AND amount = 0))
);
CREATE INDEX awards_of_player ON awards (user_id, awarded_at DESC);
CREATE INDEX awards_that_expire ON awards (expires_at) WHERE status = 'active';

-- Spin chances are an entitlement, not money: a count that never goes below zero.
CREATE TABLE spin_chances (
    award_id uuid PRIMARY KEY REFERENCES awards,
    user_id uuid NOT NULL REFERENCES players,
    game_id text NOT NULL,
    bet_size bigint NOT NULL CHECK (bet_size > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    granted integer NOT NULL CHECK (granted > 0),
    remaining integer NOT NULL CHECK (remaining BETWEEN 0 AND granted),
    expires_at timestamptz NOT NULL
);
CREATE INDEX spin_chances_left ON spin_chances (user_id, game_id, expires_at) WHERE remaining > 0;

CREATE TABLE spins_used (
    spin_id uuid PRIMARY KEY,
    award_id uuid NOT NULL REFERENCES spin_chances,
    user_id uuid NOT NULL,
    game_id text NOT NULL,
    bet_size bigint NOT NULL CHECK (bet_size > 0),
    currency text NOT NULL,
    remaining integer NOT NULL CHECK (remaining >= 0),
    used_at timestamptz NOT NULL
);

-- One row per stake: points stand only once the stake is settled.
CREATE TABLE loyalty_stakes (
    product text NOT NULL CHECK (product IN ('sportsbook', 'casino')),
    reference uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES players,
    stake bigint NOT NULL CHECK (stake >= 0),
    pending_points bigint NOT NULL CHECK (pending_points >= 0),
    points bigint NOT NULL CHECK (points >= 0),
    decided_at timestamptz,
    PRIMARY KEY (product, reference)
);
CREATE INDEX loyalty_stakes_pending ON loyalty_stakes (user_id) WHERE pending_points > 0;

-- migrate:down
