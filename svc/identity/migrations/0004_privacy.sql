-- migrate:up
-- What a player handed in to prove who they are. Erased with the account.
CREATE TABLE verifications (
    user_id uuid PRIMARY KEY REFERENCES users,
    first_name text NOT NULL,
    last_name text NOT NULL,
    street text NOT NULL,
    city text NOT NULL,
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    document_number text NOT NULL,
    submitted_at timestamptz NOT NULL,
    -- Null until whoever verifies has it: a crash or an outage in between is made up for later.
    handed_over_at timestamptz
);
CREATE INDEX verifications_waiting ON verifications (submitted_at) WHERE handed_over_at IS NULL;
UPDATE users SET kyc_at = created_at WHERE kyc_status <> 'none';

-- migrate:down
