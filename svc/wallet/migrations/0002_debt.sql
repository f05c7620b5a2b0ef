-- migrate:up
-- A wallet's `cash` is net of what the player owes: cash below what is held is a debt. Only what is
-- forced makes one, or more of one: money that has left already (a chargeback, a refund the provider
-- gave by itself), a payout that was too much, or a win taken back that was spent. Whatever comes to
-- the cash clears the debt first. The house's account `debt` is what all players owe together.
ALTER TABLE transfer DROP CONSTRAINT no_balance_below_zero;
ALTER TABLE transfer ADD CONSTRAINT only_what_is_forced_makes_debt CHECK (
    bonus_after >= 0 AND held_after >= 0
    AND (cash_after >= held_after OR cash_change >= held_change OR verb = 'rollback'
        OR (verb = 'deduct_balance' AND kind IN ('chargeback', 'refund', 'bet_payout',
            'bet_refund', 'casino_payout', 'prize', 'jackpot', 'adjustment'))));
-- That the cash follows from its last transfer is the trigger's to check.
ALTER TABLE wallet DROP CONSTRAINT no_overdraft;
ALTER TABLE wallet ADD CONSTRAINT nothing_below_zero CHECK (bonus >= 0 AND held >= 0);

ALTER TABLE house DROP CONSTRAINT house_name_check;
ALTER TABLE house ADD CONSTRAINT house_name_check CHECK (name IN ('bets_in_play', 'revenue',
    'casino', 'provider_clearing', 'promotions', 'prizes', 'jackpots', 'adjustments', 'holds'));

CREATE OR REPLACE FUNCTION house_of(kind text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'bet' THEN 'bets_in_play'
        WHEN 'bet_payout' THEN 'revenue' WHEN 'bet_refund' THEN 'revenue'
        WHEN 'casino_bet' THEN 'casino' WHEN 'casino_payout' THEN 'casino'
        WHEN 'deposit' THEN 'provider_clearing' WHEN 'withdrawal' THEN 'provider_clearing'
        WHEN 'refund' THEN 'provider_clearing' WHEN 'chargeback' THEN 'provider_clearing'
        WHEN 'bonus' THEN 'promotions' WHEN 'bonus_expiry' THEN 'promotions'
        WHEN 'prize' THEN 'prizes' WHEN 'jackpot' THEN 'jackpots'
        WHEN 'adjustment' THEN 'adjustments'
    END
$$;

-- The movements, one line each: `amount` comes to `account` and goes from `contra`. What a player
-- lacks comes from the house's account `debt`, and goes back there from what comes later.
CREATE OR REPLACE VIEW entry AS
SELECT transfer.id AS transfer_id, user_id, seq, account, contra, currency, amount, balance_after,
    kind, reference, decided_at, shard, batch
FROM transfer CROSS JOIN LATERAL (SELECT
    greatest(held_after - cash_after, 0) AS owed,
    greatest(held_after - held_change - cash_after + cash_change, 0) AS owed_before
) AS debt CROSS JOIN LATERAL (VALUES
    ('cash', house_of(kind), cash_change, cash_after + owed_before),
    ('cash', 'debt', owed - owed_before, cash_after + owed),
    ('bonus', house_of(kind), bonus_change, bonus_after),
    ('held', 'holds', held_change, held_after),
    ('revenue', 'bets_in_play', won_from_play, NULL)
) AS leg (account, contra, amount, balance_after)
WHERE outcome = 'applied' AND amount <> 0;

-- All accounts and their balances; the house's have no user.
CREATE OR REPLACE VIEW account AS
SELECT user_id, currency, name, balance FROM wallet CROSS JOIN LATERAL (VALUES
    ('cash', greatest(cash, held)), ('bonus', bonus), ('held', held)) AS own (name, balance)
UNION ALL
SELECT NULL, currency, 'debt', -sum(greatest(held - cash, 0))::bigint FROM wallet GROUP BY currency
UNION ALL
SELECT NULL, currency, name, sum(balance)::bigint FROM house GROUP BY currency, name;

-- migrate:down
