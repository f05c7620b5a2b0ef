-- migrate:up
-- What the feed calls players and teams that outcomes and specifiers name by their ids, by language;
-- an empty name: the feed did not know one when it was asked.
CREATE TABLE person (
    locale text NOT NULL,
    person_id text NOT NULL,
    name text NOT NULL,
    asked_at timestamptz NOT NULL,
    PRIMARY KEY (locale, person_id)
);

-- migrate:down
