-- migrate:up
-- The provider took money in another currency than the deposit's: nothing of that is booked, but
-- payouts wait until it is decided, as they do for what is.
ALTER TABLE disputes ADD COLUMN taken_elsewhere boolean NOT NULL DEFAULT false;

-- migrate:down
