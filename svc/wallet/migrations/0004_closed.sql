-- migrate:up
-- An account is closed by a transfer of nothing, so that it has its place in the player's order and
-- in the chain, and whoever still believes that the account is open finds the wallet changed.
ALTER TABLE transfer DROP CONSTRAINT transfer_verb_check;
ALTER TABLE transfer ADD CONSTRAINT transfer_verb_check CHECK (verb IN ('deduct_balance',
    'credit_balance', 'hold', 'capture', 'release', 'rollback', 'close'));
ALTER TABLE transfer ADD CONSTRAINT closing_moves_nothing CHECK (verb <> 'close'
    OR (cash_change = 0 AND bonus_change = 0 AND held_change = 0 AND won_from_play = 0));
ALTER TABLE wallet ADD COLUMN closed boolean NOT NULL DEFAULT false;

-- migrate:down
