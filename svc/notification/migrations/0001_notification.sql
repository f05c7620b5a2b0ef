-- migrate:up
-- How to reach a user. Personal data stands only here and in identity; it is read from there when
-- a message is about to leave, and kept for a day.
CREATE TABLE recipients (
    user_id uuid PRIMARY KEY,
    locale text,
    marketing_opt_in boolean NOT NULL DEFAULT false,
    excluded_until timestamptz,
    email text,
    phone text,
    contact_at timestamptz,
    -- Counts profile changes, so that contact data read before one is not kept after it.
    profile_version integer NOT NULL DEFAULT 0,
    CHECK (contact_at IS NULL OR (email IS NOT NULL AND phone IS NOT NULL))
);

-- What a user chose; categories and channels without a row follow the defaults of rules.py.
CREATE TABLE preferences (
    user_id uuid NOT NULL REFERENCES recipients,
    category text NOT NULL CHECK (category IN ('transactional', 'security', 'marketing')),
    channel text NOT NULL CHECK (channel IN ('sms', 'email', 'in_app')),
    enabled boolean NOT NULL CHECK (enabled OR category <> 'security'),
    PRIMARY KEY (user_id, category, channel)
);

CREATE TABLE messages (
    message_id uuid PRIMARY KEY,
    event_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES recipients,
    template text NOT NULL,
    category text NOT NULL CHECK (category IN ('transactional', 'security', 'marketing')),
    channel text NOT NULL CHECK (channel IN ('sms', 'email', 'in_app')),
    arguments jsonb NOT NULL,
    cause text NOT NULL,
    correlation_id text NOT NULL,
    at timestamptz NOT NULL,
    status text NOT NULL
        CHECK (status IN ('queued', 'sent', 'delivered', 'failed', 'suppressed')),
    title text,
    body text,
    provider_id text UNIQUE,
    reason text,
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    -- However often an event is told, a user gets each message once per channel.
    UNIQUE (event_id, user_id, template, channel),
    CHECK (status NOT IN ('sent', 'delivered') OR (title IS NOT NULL AND body IS NOT NULL))
);
CREATE INDEX messages_to_send ON messages (channel, next_attempt_at) WHERE status = 'queued';
CREATE INDEX messages_inbox ON messages (user_id, message_id DESC)
    WHERE channel = 'in_app' AND status IN ('sent', 'delivered');

-- Every receipt, also those of messages that are not (yet) known here: a receipt may come before
-- the provider's answer to the sending.
CREATE TABLE receipts (
    provider_id text NOT NULL,
    status text NOT NULL,
    error_code text,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (provider_id, status)
);

-- migrate:down
