-- migrate:up
-- When a stake's settlement was taken back last: its points are pending again, and what was decided
-- before that does not hold. Of those taken back before this was kept the points stand.
ALTER TABLE loyalty_stakes ADD COLUMN reopened_at timestamptz;

-- migrate:down
