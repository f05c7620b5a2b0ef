-- The peers' ledger: for each transfer the rows that the wallet writes too, and nothing else. One
-- transfer under the caller's id (idempotency), one entry with both legs, two balances, of which
-- the house's is everybody's. No event, no chain, no foreign keys: in the peers' favour.
CREATE TABLE account (
    number bigint PRIMARY KEY,
    user_id uuid UNIQUE,
    balance bigint NOT NULL,
    floor bigint,
    seq bigint NOT NULL DEFAULT 0,
    CHECK (balance >= floor)
) WITH (fillfactor = 70);

CREATE TABLE transfer (
    id uuid PRIMARY KEY,
    account bigint NOT NULL,
    amount bigint NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    balance_after bigint NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE entry (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id uuid NOT NULL,
    account bigint NOT NULL,
    contra bigint NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),
    seq bigint NOT NULL,
    balance_after bigint NOT NULL,
    UNIQUE (account, seq)
);
