-- migrate:up
-- A player is excluded by a transfer of nothing, as an account is closed (0004): its reference is the
-- instant when the exclusion ends. The wallet has the latest of them.
ALTER TABLE transfer DROP CONSTRAINT transfer_verb_check;
ALTER TABLE transfer ADD CONSTRAINT transfer_verb_check CHECK (verb IN ('deduct_balance',
    'credit_balance', 'hold', 'capture', 'release', 'rollback', 'close', 'exclude'));
ALTER TABLE transfer ADD CONSTRAINT excluding_moves_nothing CHECK (verb <> 'exclude'
    OR (cash_change = 0 AND bonus_change = 0 AND held_change = 0 AND won_from_play = 0));
ALTER TABLE wallet ADD COLUMN excluded_until timestamptz;

-- migrate:down
