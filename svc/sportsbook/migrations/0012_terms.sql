-- migrate:up
-- What a bet was struck on holds to its end: the most that it pays, in minor units, and how parts of
-- one are rounded. Bets from before have neither, and end by what the house has set then.
ALTER TABLE bet
    ADD COLUMN payout_max bigint CHECK (payout_max > 0),
    ADD COLUMN rounding text CHECK (rounding IN ('half_up', 'down')),
    ADD CONSTRAINT bet_terms CHECK (num_nulls(payout_max, rounding) IN (0, 2));
-- migrate:down
