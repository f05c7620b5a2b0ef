-- migrate:up
-- How many events of each type were heard, by the UTC day of their time.
CREATE TABLE event_counts (
    day date NOT NULL,
    type text NOT NULL,
    events bigint NOT NULL CHECK (events > 0),
    PRIMARY KEY (day, type)
);

-- What the events say about money, by the ledger's kinds, signed from the player's side.
CREATE TABLE money (
    day date NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- A sum of amounts of up to 2^53 may pass a bigint.
    amount numeric(38, 0) NOT NULL,
    movements bigint NOT NULL CHECK (movements > 0),
    PRIMARY KEY (day, kind, currency)
);

-- Days that were closed by the daily job, as they stood then; the newest closing of a day stays.
CREATE TABLE closed_days (
    day date PRIMARY KEY,
    report jsonb NOT NULL,
    closed_at timestamptz NOT NULL
);

-- migrate:down
