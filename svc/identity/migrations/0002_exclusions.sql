-- migrate:up
-- Which services have an exclusion in their own books, and until when: the player's answer waits.
CREATE TABLE exclusion_confirmations (
    user_id uuid NOT NULL REFERENCES users,
    service text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (user_id, service)
);

-- migrate:down
