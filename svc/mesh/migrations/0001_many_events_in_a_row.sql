-- migrate:up
-- Where `events` is given the body is a MessagePack array of so many pairs of event id and body:
-- a transaction that tells of hundreds of things writes one row.
ALTER TABLE mesh_outbox ADD COLUMN events int CHECK (events > 0);
-- A body is read once and soon: compressing it would cost more than it saves.
ALTER TABLE mesh_outbox ALTER COLUMN body SET STORAGE EXTERNAL;

-- migrate:down
