-- migrate:up
-- What players were paid in a day (UTC), while the house has a limit for it: a bet's last payment
-- under its own id, a cash-out under its offer's. `owed` is what would have been paid without the
-- limit, `most` the limit of that day, `again`: room came back, so it is looked at once more.
CREATE TABLE paid_in_day (
    paid_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    currency char(3) NOT NULL,
    day date NOT NULL,
    amount bigint NOT NULL CHECK (amount >= 0),
    owed bigint NOT NULL CHECK (owed >= amount),
    most bigint NOT NULL CHECK (most > 0),
    again boolean NOT NULL DEFAULT false
);
CREATE INDEX paid_in_day_of_user ON paid_in_day (user_id, currency, day);
CREATE INDEX paid_in_day_again ON paid_in_day (paid_id) WHERE again;

-- migrate:down
