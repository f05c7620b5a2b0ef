-- migrate:up
-- A bonus that was wagered as required becomes cash: both legs stand against the promotions, so the
-- house neither pays nor gets. What is above the bonus's cap is taken back by a transfer of its own.
ALTER TABLE transfer DROP CONSTRAINT transfer_verb_check;
ALTER TABLE transfer ADD CONSTRAINT transfer_verb_check CHECK (verb IN ('deduct_balance',
    'credit_balance', 'hold', 'capture', 'release', 'rollback', 'close', 'exclude', 'end_bonus'));
ALTER TABLE transfer ADD CONSTRAINT bonus_becomes_cash_or_ends CHECK (verb <> 'end_bonus'
    OR (bonus_change <= 0 AND held_change = 0 AND won_from_play = 0
        AND cash_change = CASE kind WHEN 'bonus_conversion' THEN -bonus_change ELSE 0 END));

CREATE OR REPLACE FUNCTION house_of(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'bet' THEN 'bets_in_play'
        WHEN 'bet_payout' THEN 'revenue' WHEN 'bet_refund' THEN 'revenue'
        WHEN 'casino_bet' THEN 'casino' WHEN 'casino_payout' THEN 'casino'
        WHEN 'deposit' THEN 'provider_clearing' WHEN 'withdrawal' THEN 'provider_clearing'
        WHEN 'refund' THEN 'provider_clearing' WHEN 'chargeback' THEN 'provider_clearing'
        WHEN 'bonus' THEN 'promotions' WHEN 'bonus_expiry' THEN 'promotions'
        WHEN 'bonus_conversion' THEN 'promotions'
        WHEN 'prize' THEN 'prizes' WHEN 'jackpot' THEN 'jackpots'
        WHEN 'adjustment' THEN 'adjustments'
    END
$$;

-- migrate:down
