-- migrate:up
-- What payment knows of a player; the first event about them makes the row, whichever it is.
CREATE TABLE players (
    user_id uuid PRIMARY KEY,
    -- Empty until the registration was heard.
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    locale text NOT NULL DEFAULT 'en',
    kyc_status text NOT NULL DEFAULT 'none',
    kyc_at timestamptz,
    excluded_until timestamptz
);

-- Every announced deposit limit; which of them holds follows from the two instants.
CREATE TABLE deposit_limits (
    user_id uuid NOT NULL REFERENCES players,
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    announced_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (user_id, period, announced_at)
);

CREATE TABLE deposits (
    deposit_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES players,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    method text NOT NULL,
    -- The wallet's key of the credit, minted before anybody is asked for anything.
    transfer_id uuid NOT NULL UNIQUE,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'failed', 'succeeded', 'refunded')),
    provider_id text UNIQUE,
    next_action jsonb,
    reason text,
    -- The answer that the idempotency key keeps: a status, or the refusal.
    answered_status text,
    refusal jsonb,
    is_first boolean NOT NULL DEFAULT false,
    -- Something that a person must look at.
    flag text,
    -- The event that told of the success, and whether the player got the message about it.
    told_by uuid,
    confirmation text CHECK (confirmation IN ('delivered', 'failed')),
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (user_id, idempotency_key),
    CHECK (status NOT IN ('succeeded', 'refunded') OR provider_id IS NOT NULL)
);
-- A player has one first deposit, however many succeed at the same time.
CREATE UNIQUE INDEX deposits_first ON deposits (user_id) WHERE is_first;
CREATE INDEX deposits_of_player ON deposits (user_id, created_at);
CREATE INDEX deposits_due ON deposits (next_try_at) WHERE status = 'pending';
CREATE INDEX deposits_told_by ON deposits (told_by) WHERE told_by IS NOT NULL;

CREATE TABLE withdrawals (
    withdrawal_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    method text NOT NULL,
    -- Every call of the wallet has its own id, stored before it is made.
    hold_id uuid NOT NULL UNIQUE,
    hold_transfer_id uuid NOT NULL UNIQUE,
    capture_transfer_id uuid NOT NULL UNIQUE,
    release_transfer_id uuid NOT NULL UNIQUE,
    return_transfer_id uuid NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN (
        'requested', 'held', 'submitting', 'submitted', 'paid_pending_capture', 'paid',
        'abandoning', 'releasing', 'returning', 'refused', 'failed', 'cancelled'
    )),
    provider_id text UNIQUE,
    reason text,
    answered_status text,
    refusal jsonb,
    flag text,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (user_id, idempotency_key)
);
CREATE INDEX withdrawals_due ON withdrawals (next_try_at)
    WHERE state NOT IN ('paid', 'refused', 'failed', 'cancelled');

CREATE TABLE refunds (
    refund_id uuid PRIMARY KEY,
    deposit_id uuid NOT NULL REFERENCES deposits,
    -- Who asked: an operator's id, `operator` on NATS, or `provider` when it was done there.
    actor text NOT NULL,
    idempotency_key text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    transfer_id uuid NOT NULL UNIQUE,
    rollback_transfer_id uuid NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN (
        'requested', 'deducted', 'undoing', 'done', 'refused', 'owed'
    )),
    provider_id text UNIQUE,
    refusal jsonb,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (actor, idempotency_key)
);
-- A deposit is given back by us at most once.
CREATE UNIQUE INDEX refunds_ours ON refunds (deposit_id)
    WHERE state <> 'refused' AND actor <> 'provider';
CREATE INDEX refunds_of_deposit ON refunds (deposit_id);
CREATE INDEX refunds_due ON refunds (next_try_at)
    WHERE state IN ('requested', 'deducted', 'undoing');

-- Webhooks as they came; one that tells of a payment that is not known yet waits here.
CREATE TABLE provider_events (
    event_id text PRIMARY KEY,
    type text NOT NULL,
    object_id text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('applied', 'ignored', 'parked')),
    received_at timestamptz NOT NULL
);
CREATE INDEX provider_events_parked ON provider_events (object_id) WHERE state = 'parked';

-- migrate:down
