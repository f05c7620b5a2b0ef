-- migrate:up
-- What casino knows of a player from other services' events.
CREATE TABLE players (
    user_id uuid PRIMARY KEY,
    excluded_until timestamptz,
    refunded_at timestamptz,
    withdrawal_requested_at timestamptz,
    free_spins integer NOT NULL DEFAULT 0 CHECK (free_spins >= 0)
);

-- A session commits to its server seed before the first round; the seed is public once closed.
CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    game_id text NOT NULL,
    server_seed text NOT NULL CHECK (server_seed ~ '^[0-9a-f]{64}$'),
    server_seed_hash text NOT NULL CHECK (server_seed_hash ~ '^[0-9a-f]{64}$'),
    client_seed text NOT NULL CHECK (length(client_seed) BETWEEN 1 AND 128),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'closed')),
    next_nonce integer NOT NULL DEFAULT 0 CHECK (next_nonce >= 0),
    rounds integer NOT NULL DEFAULT 0 CHECK (rounds >= 0),
    staked bigint NOT NULL DEFAULT 0 CHECK (staked >= 0),
    paid bigint NOT NULL DEFAULT 0 CHECK (paid >= 0),
    started_at timestamptz NOT NULL,
    closed_at timestamptz,
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CHECK (rounds <= next_nonce)
);
CREATE INDEX sessions_of_player ON sessions (user_id, started_at DESC);

-- pending: the wallet's answer is not known yet; reversing: the stake is being given back.
CREATE TABLE rounds (
    round_id uuid PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions,
    user_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    request_hash text NOT NULL,
    nonce integer NOT NULL CHECK (nonce >= 0),
    stake bigint NOT NULL CHECK (stake >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    choice jsonb NOT NULL,
    free_spin boolean NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'played', 'reversing', 'rejected')),
    stake_transfer_id uuid NOT NULL UNIQUE,
    payout_transfer_id uuid NOT NULL UNIQUE,
    rollback_transfer_id uuid NOT NULL UNIQUE,
    outcome jsonb,
    payout bigint CHECK (payout >= 0),
    refusal jsonb,
    payout_event_id text UNIQUE,
    notified_at timestamptz,
    placed_at timestamptz NOT NULL,
    decided_at timestamptz,
    UNIQUE (user_id, idempotency_key),
    UNIQUE (session_id, nonce),
    CHECK ((status = 'played') = (outcome IS NOT NULL)),
    CHECK ((status = 'played') = (payout IS NOT NULL)),
    CHECK ((status = 'rejected') = (refusal IS NOT NULL)),
    CHECK ((status IN ('played', 'rejected')) = (decided_at IS NOT NULL))
);
CREATE INDEX rounds_undecided ON rounds (placed_at) WHERE status IN ('pending', 'reversing');

-- Sums by game, added up from this service's own events.
CREATE TABLE game_totals (
    game_id text NOT NULL,
    currency text NOT NULL,
    rounds bigint NOT NULL CHECK (rounds >= 0),
    staked bigint NOT NULL CHECK (staked >= 0),
    paid bigint NOT NULL CHECK (paid >= 0),
    PRIMARY KEY (game_id, currency)
);

-- migrate:down
