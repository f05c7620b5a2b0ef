-- migrate:up
-- Ways in which a session ends have grown: the service names them, the table keeps them short.
ALTER TABLE sessions DROP CONSTRAINT sessions_revoked_because_check;
ALTER TABLE sessions ADD CONSTRAINT sessions_revoked_because_check
    CHECK (revoked_because ~ '^[a-z-]{1,40}$');
ALTER TABLE sessions ADD COLUMN last_seen_at timestamptz;
UPDATE sessions SET last_seen_at = created_at;
ALTER TABLE sessions ALTER COLUMN last_seen_at SET NOT NULL;
ALTER TABLE sessions ADD COLUMN reality_check_at timestamptz;
CREATE INDEX sessions_of_user ON sessions (user_id) WHERE revoked_at IS NULL;

-- Only guesses count; a log-in that succeeds clears its row. Keys are hashes of what was tried, so
-- an address that nobody has is treated like any other.
CREATE TABLE wrong_guesses (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    failures integer NOT NULL,
    last_at timestamptz NOT NULL,
    locked_until timestamptz
);
CREATE INDEX wrong_guesses_last_at ON wrong_guesses (last_at);

-- One code at a time and per purpose, hashed as slowly as a password: it has few digits.
CREATE TABLE one_time_codes (
    user_id uuid NOT NULL REFERENCES users,
    purpose text NOT NULL CHECK (purpose IN ('password-reset')),
    code_hash text NOT NULL CHECK (code_hash LIKE '$argon2id$%'),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    attempts_left integer NOT NULL CHECK (attempts_left >= 0),
    PRIMARY KEY (user_id, purpose)
);

CREATE TABLE second_factors (
    user_id uuid PRIMARY KEY REFERENCES users,
    secret bytea NOT NULL CHECK (length(secret) >= 20),
    created_at timestamptz NOT NULL,
    -- Until it is confirmed with a first code, it asks for nothing.
    confirmed_at timestamptz,
    -- A code opens once: later ones must come from later steps.
    last_step bigint NOT NULL DEFAULT 0
);

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users,
    code_hash bytea NOT NULL CHECK (length(code_hash) = 32),
    PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE security_events (
    event_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    -- Who did it, where that is somebody else than the user.
    actor_id uuid,
    ip text NOT NULL DEFAULT '',
    device text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT ''
);
CREATE INDEX security_events_of_user ON security_events (user_id, event_id DESC);

-- What happened is never rewritten. Only where it came from can be forgotten, when an account is
-- erased: address and device are personal data, the event itself is not.
CREATE FUNCTION security_events_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.event_id, NEW.user_id, NEW.kind, NEW.at, NEW.detail)
        IS NOT DISTINCT FROM (OLD.event_id, OLD.user_id, OLD.kind, OLD.at, OLD.detail)
        AND NEW.actor_id IS NOT DISTINCT FROM OLD.actor_id
        AND NEW.ip = '' AND NEW.device = '' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'security events are append-only';
END
$$;
CREATE TRIGGER security_events_stay BEFORE UPDATE OR DELETE ON security_events
    FOR EACH ROW EXECUTE FUNCTION security_events_stay();

-- Only digests: who reads this table cannot call as anybody.
CREATE TABLE api_keys (
    key_id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    name text NOT NULL,
    scopes text[] NOT NULL CHECK (scopes <> '{}'),
    created_at timestamptz NOT NULL,
    created_by uuid,
    expires_at timestamptz,
    revoked_at timestamptz
);

-- A key is published before it signs, and goes on being published while its tokens hold.
ALTER TABLE signing_keys ADD COLUMN signs_from timestamptz;
UPDATE signing_keys SET signs_from = created_at;
ALTER TABLE signing_keys ALTER COLUMN signs_from SET NOT NULL;
ALTER TABLE signing_keys ADD CHECK (retired_at > signs_from);

-- An erased account keeps its id, for the ledger, and nothing that names a person.
ALTER TABLE users ADD COLUMN erased_at timestamptz;
ALTER TABLE users DROP CONSTRAINT users_check;
ALTER TABLE users ADD CONSTRAINT players_are_reachable CHECK (
    NOT 'player' = ANY (roles) OR erased_at IS NOT NULL
    OR (phone IS NOT NULL AND date_of_birth IS NOT NULL)
);
ALTER TABLE users ADD CONSTRAINT erased_is_closed CHECK (erased_at IS NULL OR closed);
ALTER TABLE users ADD COLUMN kyc_at timestamptz;

-- migrate:down
