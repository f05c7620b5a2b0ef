-- migrate:up
-- The stake and loss limits that players set for themselves, as identity told of them: of those in
-- effect the one asked for last holds, so the order of events does not matter.
CREATE TABLE player_limits (
    user_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('stake', 'loss')),
    period text NOT NULL CHECK (period IN ('day', 'week', 'month')),
    requested_at timestamptz NOT NULL,
    effective_at timestamptz NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (user_id, kind, period, requested_at)
);
CREATE INDEX rounds_of_player ON rounds (user_id, placed_at);

-- migrate:down
