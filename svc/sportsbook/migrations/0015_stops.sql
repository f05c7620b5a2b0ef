-- migrate:up
-- The newest bet_stop by producer and groups: odds that are older than it put nothing on sale, be
-- it a market that was not known when it came. `stopped_ms` of an event is the newest of them all.
CREATE TABLE event_stop (
    event_id text NOT NULL REFERENCES event,
    producer integer NOT NULL,
    groups text NOT NULL,
    status text NOT NULL CHECK (status IN (
        'active', 'suspended', 'inactive', 'settled', 'cancelled', 'handed_over')),
    stopped_ms bigint NOT NULL
);
CREATE UNIQUE INDEX event_stop_once ON event_stop (event_id, producer, md5(groups));
CREATE INDEX event_stop_oldest ON event_stop (stopped_ms);
ALTER TABLE event ADD COLUMN stopped_ms bigint NOT NULL DEFAULT 0;

-- migrate:down
