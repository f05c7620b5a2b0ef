-- migrate:up
-- The feed's events; names and times may come after the first odds.
CREATE TABLE event (
    event_id text PRIMARY KEY CHECK (event_id ~ '^[A-Za-z0-9:_-]{1,64}$'),
    sport text NOT NULL DEFAULT '',
    home text NOT NULL DEFAULT '',
    away text NOT NULL DEFAULT '',
    name text NOT NULL DEFAULT '',
    starts_at timestamptz,
    status text NOT NULL DEFAULT 'not_started' CHECK (status IN (
        'not_started', 'live', 'suspended', 'ended', 'closed', 'cancelled', 'delayed',
        'interrupted', 'postponed', 'abandoned')),
    score text NOT NULL DEFAULT '',
    status_ms bigint NOT NULL DEFAULT 0,
    fixture_changed_ms bigint NOT NULL DEFAULT 0,
    fixture_generated_at timestamptz,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX event_by_start ON event (starts_at NULLS LAST, event_id);

-- A market is (event, id, specifiers sorted by key). `decided`: results came, odds no longer open it.
CREATE TABLE market (
    event_id text NOT NULL REFERENCES event,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    status text NOT NULL CHECK (status IN (
        'active', 'suspended', 'inactive', 'settled', 'cancelled', 'handed_over')),
    producer integer NOT NULL,
    decided boolean NOT NULL DEFAULT false,
    PRIMARY KEY (event_id, market_id, specifiers)
);

-- The newest message applied, per producer and market: the feed has no sequence numbers.
CREATE TABLE market_clock (
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    producer integer NOT NULL,
    applied_ms bigint NOT NULL,
    handed_over boolean NOT NULL DEFAULT false,
    PRIMARY KEY (event_id, market_id, specifiers, producer),
    FOREIGN KEY (event_id, market_id, specifiers) REFERENCES market
);

CREATE TABLE outcome (
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    outcome_id text NOT NULL,
    odds numeric CHECK (odds > 1),
    active boolean NOT NULL,
    result smallint CHECK (result IN (0, 1)),
    void_factor numeric CHECK (void_factor BETWEEN 0 AND 1),
    dead_heat_factor numeric CHECK (dead_heat_factor > 0 AND dead_heat_factor <= 1),
    settled_ms bigint,
    PRIMARY KEY (event_id, market_id, specifiers, outcome_id),
    FOREIGN KEY (event_id, market_id, specifiers) REFERENCES market,
    CHECK (num_nulls(result, void_factor, dead_heat_factor, settled_ms) IN (0, 4))
);

-- Every message of the feed as it came; the key leaves out the number of a recovery.
CREATE TABLE feed_message (
    message_id uuid PRIMARY KEY,
    content_key bytea NOT NULL UNIQUE,
    kind text NOT NULL,
    event_id text,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'received'
        CHECK (status IN ('received', 'applied', 'ignored', 'kept', 'failed')),
    note text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,
    processed_at timestamptz
);
CREATE INDEX feed_message_waiting ON feed_message (received_at) WHERE status = 'received';

CREATE TABLE producer (
    producer integer PRIMARY KEY,
    alive_ms bigint NOT NULL,
    subscribed boolean NOT NULL,
    heard_at timestamptz NOT NULL
);

-- What this service knows of players, from events: rows appear in any order.
CREATE TABLE player (
    user_id uuid PRIMARY KEY,
    locale text NOT NULL DEFAULT 'en',
    excluded_until timestamptz,
    watched_since timestamptz
);

CREATE TABLE player_limit (
    user_id uuid NOT NULL REFERENCES player,
    kind text NOT NULL,
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    requested_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (user_id, kind, period, requested_at)
);

CREATE TABLE bet (
    bet_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES player,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    kind text NOT NULL CHECK (kind IN ('single', 'accumulator', 'system')),
    system_sizes integer[],
    each_way boolean NOT NULL DEFAULT false,
    lines integer NOT NULL CHECK (lines > 0),
    unit_stake bigint NOT NULL CHECK (unit_stake > 0),
    stake bigint NOT NULL,
    currency char(3) NOT NULL,
    odds numeric NOT NULL CHECK (odds > 1),
    potential_payout bigint NOT NULL CHECK (potential_payout >= 0),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN (
        'pending', 'accepted', 'rejected', 'settled', 'cancelled', 'cashed_out')),
    result text CHECK (result IN ('won', 'lost', 'void', 'partial')),
    payout bigint CHECK (payout >= 0),
    refusal jsonb,
    stake_transfer_id uuid NOT NULL UNIQUE,
    rollback_transfer_id uuid NOT NULL UNIQUE,
    payout_transfer_id uuid UNIQUE,
    placed_at timestamptz NOT NULL,
    expired_at timestamptz,
    accepted_at timestamptz,
    settled_at timestamptz,
    UNIQUE (user_id, idempotency_key),
    CHECK (stake = unit_stake * lines * (CASE WHEN each_way THEN 2 ELSE 1 END)),
    CHECK ((status = 'rejected') = (refusal IS NOT NULL)),
    CHECK ((status IN ('pending', 'rejected')) = (accepted_at IS NULL)),
    CHECK (expired_at IS NULL OR status IN ('pending', 'rejected')),
    CHECK (num_nulls(payout, result, payout_transfer_id, settled_at)
        = CASE WHEN status IN ('settled', 'cancelled', 'cashed_out') THEN 0 ELSE 4 END)
);
CREATE INDEX bet_of_user ON bet (user_id, bet_id DESC);
CREATE INDEX bet_pending ON bet (placed_at) WHERE status = 'pending';
CREATE INDEX bet_open ON bet (currency) WHERE status = 'accepted';

-- A leg keeps what the feed said of its outcome and, apart from it, whether it was cancelled.
CREATE TABLE leg (
    bet_id uuid NOT NULL REFERENCES bet,
    leg_no integer NOT NULL,
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    outcome_id text NOT NULL,
    odds numeric NOT NULL CHECK (odds > 1),
    result smallint CHECK (result IN (0, 1)),
    void_factor numeric,
    dead_heat_factor numeric,
    settled_ms bigint,
    cancelled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bet_id, leg_no),
    UNIQUE (bet_id, event_id),
    FOREIGN KEY (event_id, market_id, specifiers, outcome_id) REFERENCES outcome,
    CHECK (num_nulls(result, void_factor, dead_heat_factor, settled_ms) IN (0, 4))
);
CREATE INDEX leg_on_outcome ON leg (event_id, market_id, specifiers, outcome_id);

-- migrate:down
