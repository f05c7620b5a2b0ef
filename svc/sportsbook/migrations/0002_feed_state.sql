-- migrate:up
-- The newest rollback of a market's settlement: results that are not newer than it do not hold.
ALTER TABLE market ADD COLUMN rolled_back_ms bigint NOT NULL DEFAULT 0;

-- Cancellations by window, whatever comes first: one holds while it is newer than its undoing.
-- Times are in ms since 1970; without a start the window begins at 0, without an end it has none.
CREATE TABLE market_void (
    event_id text NOT NULL,
    market_id integer NOT NULL,
    specifiers text NOT NULL,
    start_ms bigint NOT NULL,
    end_ms bigint NOT NULL,
    cancelled_ms bigint NOT NULL DEFAULT 0,
    undone_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (event_id, market_id, specifiers, start_ms, end_ms)
);

-- Who sent a message, so that a producer is not up while its messages wait.
ALTER TABLE feed_message ADD COLUMN producer integer;

-- `up`: nothing was missed. `processed_ms`: the last alive of a time when it was up, from where a
-- recovery begins. `recovery_id`: the recovery that will bring it up again.
ALTER TABLE producer ADD COLUMN up boolean NOT NULL DEFAULT true;
ALTER TABLE producer ADD COLUMN processed_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE producer ADD COLUMN recovery_id bigint;

-- Every recovery that was asked for; the provider limits how many there may be.
CREATE TABLE recovery (
    recovery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    producer integer NOT NULL,
    after_ms bigint,
    asked_at timestamptz NOT NULL,
    completed_at timestamptz,
    refusal text NOT NULL DEFAULT ''
);
CREATE INDEX recovery_recent ON recovery (producer, asked_at);

-- A fixture that changed and is still to be asked for.
ALTER TABLE event ADD COLUMN fixture_wanted_at timestamptz;
CREATE INDEX event_fixture_wanted ON event (fixture_wanted_at) WHERE fixture_wanted_at IS NOT NULL;

-- Markets that wait for the producer that takes them over.
CREATE INDEX market_handed_over ON market (event_id) WHERE status = 'handed_over';
-- What is on sale by producer, to show it as suspended while the producer is down.
CREATE INDEX market_on_sale ON market (producer, event_id) WHERE status = 'active';

-- migrate:down
