-- migrate:up
-- What else decides whether a player may bet: the verification as identity told it last, and the
-- disputes of payments that are open. A dispute that ended stays known, whichever news comes first.
ALTER TABLE player
    ADD COLUMN kyc_status text NOT NULL DEFAULT 'none',
    ADD COLUMN kyc_at timestamptz,
    ADD COLUMN disputed boolean NOT NULL DEFAULT false;
CREATE TABLE dispute (
    dispute_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    closed boolean NOT NULL DEFAULT false
);
CREATE INDEX dispute_open ON dispute (user_id) WHERE NOT closed;

-- `counted`: the player has limits of their own, which hold over all products, so identity counts
-- the stake before the wallet is asked for it, and is told what came back.
ALTER TABLE bet ADD COLUMN counted boolean NOT NULL DEFAULT false;

-- migrate:down
