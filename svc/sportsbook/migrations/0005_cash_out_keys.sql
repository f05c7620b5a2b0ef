-- migrate:up
-- Under which key an offer was taken: another offer under the same key is refused.
ALTER TABLE cash_out ADD COLUMN idempotency_key text;
CREATE UNIQUE INDEX cash_out_key ON cash_out (bet_id, idempotency_key);

-- A deduction is ordered once; the legs it is for are found by their market and time.
CREATE UNIQUE INDEX deduction_once ON deduction (event_id, market_id, specifiers, from_at, until_at);

-- migrate:down
