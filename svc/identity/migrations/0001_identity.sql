-- migrate:up
CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    email text NOT NULL,
    -- What makes an address unique: normalised and case-folded.
    email_key text NOT NULL UNIQUE,
    phone text UNIQUE CHECK (phone ~ '^\+[1-9][0-9]{6,14}$'),
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    date_of_birth date,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    locale text NOT NULL,
    marketing_opt_in boolean NOT NULL,
    roles text[] NOT NULL CHECK (roles <@ ARRAY['player', 'operator', 'admin'] AND roles <> '{}'),
    kyc_status text NOT NULL DEFAULT 'none'
        CHECK (kyc_status IN ('none', 'pending', 'verified', 'rejected', 'expired')),
    closed boolean NOT NULL DEFAULT false,
    excluded_until timestamptz,
    created_at timestamptz NOT NULL,
    -- Only staff has no date of birth and no phone.
    CHECK (NOT 'player' = ANY (roles) OR (phone IS NOT NULL AND date_of_birth IS NOT NULL))
);

CREATE TABLE limits (
    user_id uuid NOT NULL REFERENCES users,
    kind text NOT NULL CHECK (kind IN ('deposit', 'loss', 'stake')),
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    amount bigint NOT NULL CHECK (amount > 0),
    pending_amount bigint,
    pending_from timestamptz,
    PRIMARY KEY (user_id, kind, period),
    -- Only a raise waits.
    CHECK ((pending_amount IS NULL) = (pending_from IS NULL)),
    CHECK (pending_amount > amount)
);

-- How the last messages to a user fared; the newest of each wins in any order of events.
CREATE TABLE contact_health (
    user_id uuid NOT NULL REFERENCES users,
    channel text NOT NULL CHECK (channel IN ('sms', 'email')),
    delivered_at timestamptz,
    failed_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, channel)
);

CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    device text NOT NULL,
    ip text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    revoked_at timestamptz,
    revoked_because text CHECK (revoked_because IN ('logged-out', 'refresh-token-reused')),
    CHECK ((revoked_at IS NULL) = (revoked_because IS NULL))
);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- Only hashes: who reads this table cannot open a session.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE UNIQUE INDEX one_unused_token_per_session ON refresh_tokens (session_id) WHERE used_at IS NULL;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    private_key bytea NOT NULL CHECK (length(private_key) = 32),
    created_at timestamptz NOT NULL,
    retired_at timestamptz
);
CREATE UNIQUE INDEX one_key_signs ON signing_keys ((true)) WHERE retired_at IS NULL;

-- migrate:down
