-- migrate:up
-- Stakes of players who have stake or loss limits, of all products: counted before money is asked
-- for, and told again by the product when they came to something. Older ones than a month go.
CREATE TABLE plays (
    stake_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    staked bigint NOT NULL CHECK (staked >= 0),
    returned bigint NOT NULL DEFAULT 0 CHECK (returned >= 0),
    placed_at timestamptz NOT NULL,
    told_at timestamptz NOT NULL
);
CREATE INDEX plays_of_user ON plays (user_id, placed_at);
CREATE INDEX plays_by_age ON plays (placed_at);

-- migrate:down
