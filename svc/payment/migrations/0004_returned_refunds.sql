-- migrate:up
-- Refunds that the bank sent back after they were made: their money returns to the wallet. Each is
-- known by the refund's id at the provider, whoever asked for it.
CREATE TABLE refund_returns (
    return_id uuid PRIMARY KEY,
    provider_id text NOT NULL UNIQUE,
    deposit_id uuid NOT NULL REFERENCES deposits,
    amount bigint NOT NULL CHECK (amount > 0),
    transfer_id uuid NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'crediting' CHECK (state IN ('crediting', 'credited')),
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX refund_returns_of_deposit ON refund_returns (deposit_id);
CREATE INDEX refund_returns_due ON refund_returns (next_try_at) WHERE state = 'crediting';

-- What came back may be given back anew; else we give a deposit back at most once.
ALTER TABLE refunds ADD COLUMN returned boolean NOT NULL DEFAULT false;
DROP INDEX refunds_ours;
CREATE UNIQUE INDEX refunds_ours ON refunds (deposit_id)
    WHERE state <> 'refused' AND actor <> 'provider' AND NOT returned;

-- migrate:down
