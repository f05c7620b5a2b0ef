-- migrate:up
-- Recoveries of single events have their numbers from the same row as those of producers: with an
-- event, and what was asked for. The provider limits these apart.
ALTER TABLE recovery
    ADD COLUMN event_id text,
    ADD COLUMN what text CHECK (what IN ('odds', 'stateful')),
    ADD CONSTRAINT recovery_of_event CHECK ((event_id IS NULL) = (what IS NULL));
CREATE INDEX recovery_of_events ON recovery (asked_at) WHERE event_id IS NOT NULL;

-- migrate:down
