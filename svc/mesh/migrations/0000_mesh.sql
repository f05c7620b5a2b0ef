-- migrate:up
-- The outbox: events that were committed with the state they tell of, until the relay has published them.
CREATE TABLE mesh_outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    subject text NOT NULL CHECK (subject ~ '^[a-z]+\.events\.[a-z_]+$'),
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The inbox: events whose effect is committed here; a second delivery finds its row and does nothing.
CREATE TABLE mesh_inbox (
    event_id uuid PRIMARY KEY,
    type text NOT NULL,
    publisher text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down
