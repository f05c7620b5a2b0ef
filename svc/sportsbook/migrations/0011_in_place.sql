-- migrate:up
-- What a settlement changes stands in no index, neither as a column nor in a condition, and pages
-- have room: so Postgres changes bets and legs in place and leaves their indexes alone.
DROP INDEX bet_pending;
CREATE INDEX bet_unanswered ON bet (placed_at) WHERE accepted_at IS NULL AND refusal IS NULL;
-- A payment's id is made from its bet and version; the wallet takes each once.
ALTER TABLE bet DROP CONSTRAINT bet_payout_transfer_id_key;
ALTER TABLE bet SET (fillfactor = 70);
ALTER TABLE leg SET (fillfactor = 80);

-- The open risk by currency is the sum of these rows: each statement that makes bets accepted, or
-- no longer so, adds what it changes. From time to time they are summed up.
DROP INDEX bet_open;
CREATE TABLE open_risk (
    currency char(3) NOT NULL,
    open_bets bigint NOT NULL,
    stakes bigint NOT NULL,
    potential_payout bigint NOT NULL
);
INSERT INTO open_risk (currency, open_bets, stakes, potential_payout)
SELECT currency, count(*), sum(stake), sum(potential_payout)
FROM bet WHERE status = 'accepted' GROUP BY currency;

CREATE FUNCTION open_risk_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO open_risk (currency, open_bets, stakes, potential_payout)
    SELECT currency, sum(sign), sum(sign * stake), sum(sign * potential_payout)
    FROM (
        SELECT currency, 1 AS sign, stake, potential_payout
        FROM now_so WHERE status = 'accepted'
        UNION ALL
        SELECT currency, -1, stake, potential_payout
        FROM was_so WHERE status = 'accepted'
    ) AS changed
    GROUP BY currency
    HAVING (sum(sign), sum(sign * stake), sum(sign * potential_payout)) <> (0, 0, 0);
    RETURN NULL;
END
$$;
CREATE TRIGGER open_risk AFTER UPDATE ON bet
    REFERENCING OLD TABLE AS was_so NEW TABLE AS now_so
    FOR EACH STATEMENT EXECUTE FUNCTION open_risk_changed();

-- migrate:down
