-- migrate:up
-- What the feed says of an outcome's chances, without margin, and whether bets may be bought back:
-- 1 available, -1 not now, -2 not any more.
ALTER TABLE outcome
    ADD COLUMN chance_win numeric,
    ADD COLUMN chance_half_win numeric,
    ADD COLUMN chance_refund numeric,
    ADD COLUMN chance_half_lose numeric;
ALTER TABLE market ADD COLUMN cashout_status smallint;

-- migrate:down
