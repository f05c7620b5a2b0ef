-- migrate:up
-- Which bets were written together, until all of them have the wallet's answer: bets without it are
-- looked for here. An index of them would change with each acceptance, and with it all others of bet.
CREATE TABLE struck (
    struck_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bet_ids uuid[] NOT NULL CHECK (cardinality(bet_ids) > 0)
);
INSERT INTO struck (bet_ids)
SELECT array_agg(bet_id) FROM bet WHERE status = 'pending' HAVING count(*) > 0;
DROP INDEX bet_unanswered;
-- migrate:down
