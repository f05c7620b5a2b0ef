-- migrate:up
-- What is told again to rebuild what was derived: events of a stream since an instant, up to a sequence.
CREATE TABLE mesh_rebuild (
    stream text PRIMARY KEY,
    since timestamptz NOT NULL,
    upto bigint NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down
