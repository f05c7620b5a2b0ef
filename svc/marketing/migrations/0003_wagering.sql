-- migrate:up
-- An award keeps the terms that it was given by. Without a product nothing needs to be wagered: so
-- are spin chances, and awards from before.
ALTER TABLE awards
    ADD COLUMN product text CHECK (product IN ('sportsbook', 'casino')),
    ADD COLUMN odds_min numeric CHECK (odds_min >= 1),
    ADD COLUMN wagering_required bigint NOT NULL DEFAULT 0 CHECK (wagering_required >= 0),
    ADD COLUMN wagered bigint NOT NULL DEFAULT 0,
    ADD COLUMN max_conversion bigint CHECK (max_conversion >= 0),
    ADD CONSTRAINT wagered_at_most_as_required CHECK (wagered BETWEEN 0 AND wagering_required),
    ADD CONSTRAINT terms_are_whole CHECK ((product IS NULL) = (wagering_required = 0)
        AND (product IS NULL) = (max_conversion IS NULL));
CREATE INDEX awards_to_wager ON awards (user_id, product, awarded_at)
    WHERE status = 'active' AND product IS NOT NULL;

-- The last decision about the player's bonus money: the next one names it, and the wallet applies
-- them in that order.
ALTER TABLE players ADD COLUMN last_transfer_id uuid;

-- What is known of a stake that counts, or counted: the last word on it, and whether it stands.
-- One of which a part was bought back never counts.
CREATE TABLE wagers (
    product text NOT NULL CHECK (product IN ('sportsbook', 'casino')),
    reference uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES players,
    decided_at timestamptz NOT NULL,
    counts boolean NOT NULL,
    bought_back boolean NOT NULL CHECK (NOT (counts AND bought_back)),
    PRIMARY KEY (product, reference)
);

-- How much of a stake counts for which award: once for each.
CREATE TABLE wagers_counted (
    product text NOT NULL,
    reference uuid NOT NULL,
    award_id uuid NOT NULL REFERENCES awards,
    amount bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (product, reference, award_id),
    FOREIGN KEY (product, reference) REFERENCES wagers
);

CREATE INDEX loyalty_stakes_open ON loyalty_stakes (user_id) WHERE decided_at IS NULL;

-- migrate:down
