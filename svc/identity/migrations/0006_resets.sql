-- migrate:up
-- Somebody asked for a code: looked at afterwards, so that the answer takes as long whether or not
-- the address has an account, and deleted then.
CREATE TABLE reset_requests (
    reset_id uuid PRIMARY KEY,
    email_key text NOT NULL,
    ip text NOT NULL,
    asked_at timestamptz NOT NULL
);

-- A code is made when its SMS is about to leave: until then there is none to be read anywhere.
ALTER TABLE one_time_codes
    ADD COLUMN reset_id uuid UNIQUE,
    ALTER COLUMN code_hash DROP NOT NULL;

-- migrate:down
