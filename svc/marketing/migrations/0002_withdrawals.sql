-- migrate:up
-- When the player last asked for a withdrawal: a deposit before it earns no bonus any more.
ALTER TABLE players ADD COLUMN withdrew_at timestamptz;

-- migrate:down
