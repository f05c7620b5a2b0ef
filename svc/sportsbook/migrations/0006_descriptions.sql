-- migrate:up
-- What the feed calls its markets and outcomes, as templates in its languages; a variant's outcomes
-- stand under market 0.
CREATE TABLE market_description (
    locale text NOT NULL,
    market_id integer NOT NULL,
    variant text NOT NULL,
    name text NOT NULL,
    groups text NOT NULL,
    outcomes jsonb NOT NULL,
    PRIMARY KEY (locale, market_id, variant)
);

-- migrate:down
