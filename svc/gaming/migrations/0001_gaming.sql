-- migrate:up
-- What gaming knows of a player from identity's events.
CREATE TABLE players (
    user_id uuid PRIMARY KEY,
    currency text,
    registered_at timestamptz,
    excluded_until timestamptz
);

-- A must-drop pot per currency; *_e4 columns count 1/10000 of a minor unit.
-- Its value is seed + main; `target` and `salt` are secret until it is won.
CREATE TABLE jackpots (
    jackpot_id text PRIMARY KEY,
    currency text NOT NULL UNIQUE CHECK (currency ~ '^[A-Z]{3}$'),
    seed bigint NOT NULL CHECK (seed > 0),
    cap bigint NOT NULL,
    main_e4 bigint NOT NULL DEFAULT 0 CHECK (main_e4 >= 0),
    reserve_e4 bigint NOT NULL DEFAULT 0 CHECK (reserve_e4 >= 0),
    contributed_e4 bigint NOT NULL DEFAULT 0 CHECK (contributed_e4 >= 0),
    topped_up_e4 bigint NOT NULL DEFAULT 0 CHECK (topped_up_e4 >= 0),
    paid bigint NOT NULL DEFAULT 0 CHECK (paid >= 0),
    cycle integer NOT NULL DEFAULT 1 CHECK (cycle >= 1),
    target bigint NOT NULL,
    salt text NOT NULL,
    commitment text NOT NULL,
    CHECK (cap > seed),
    CHECK (target BETWEEN seed AND cap),
    -- What went in is what is still there or was paid, to 1/10000 of a minor unit.
    CHECK (contributed_e4 + topped_up_e4 = main_e4 + reserve_e4 + paid * 10000)
);

-- Prizes of all three kinds; the wallet credits each under its transfer id.
CREATE TABLE awards (
    award_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('jackpot', 'raffle', 'tournament')),
    source_id text NOT NULL,
    place integer NOT NULL CHECK (place >= 1),
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    transfer_id uuid NOT NULL UNIQUE,
    event_id text NOT NULL UNIQUE,
    awarded_at timestamptz NOT NULL,
    notified_at timestamptz,
    UNIQUE (kind, source_id, place)
);

-- The revealed draws of pots that were won.
CREATE TABLE jackpot_wins (
    jackpot_id text NOT NULL REFERENCES jackpots,
    cycle integer NOT NULL,
    award_id uuid NOT NULL UNIQUE REFERENCES awards,
    amount bigint NOT NULL CHECK (amount > 0),
    target bigint NOT NULL,
    salt text NOT NULL,
    commitment text NOT NULL,
    won_at timestamptz NOT NULL,
    PRIMARY KEY (jackpot_id, cycle)
);

CREATE TABLE raffles (
    raffle_id text PRIMARY KEY,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    prize bigint NOT NULL CHECK (prize > 0),
    winners_wanted integer NOT NULL CHECK (winners_wanted > 0),
    issued integer NOT NULL DEFAULT 0 CHECK (issued >= 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'drawn')),
    opened_at timestamptz NOT NULL,
    draws_at timestamptz NOT NULL,
    server_seed text NOT NULL,
    commitment text NOT NULL,
    list_hash text,
    drawn_at timestamptz,
    CHECK ((status = 'drawn') = (list_hash IS NOT NULL)),
    CHECK ((status = 'drawn') = (drawn_at IS NOT NULL))
);
CREATE UNIQUE INDEX one_open_raffle ON raffles (currency) WHERE status = 'open';

-- A deposit as the raffle sees it; a refund may be heard before the deposit.
CREATE TABLE raffle_deposits (
    payment_id uuid PRIMARY KEY,
    raffle_id text REFERENCES raffles,
    user_id uuid NOT NULL,
    amount bigint NOT NULL DEFAULT 0 CHECK (amount >= 0),
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0)
);

CREATE TABLE raffle_tickets (
    raffle_id text NOT NULL REFERENCES raffles,
    number integer NOT NULL CHECK (number >= 0),
    user_id uuid NOT NULL,
    payment_id uuid NOT NULL REFERENCES raffle_deposits,
    revoked_at timestamptz,
    place integer CHECK (place >= 1),
    PRIMARY KEY (raffle_id, number),
    UNIQUE (raffle_id, place),
    CHECK (revoked_at IS NULL OR place IS NULL)
);
CREATE INDEX tickets_of_payment ON raffle_tickets (payment_id);

CREATE TABLE tournaments (
    tournament_id text PRIMARY KEY,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    prizes bigint[] NOT NULL CHECK (cardinality(prizes) > 0),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'closed')),
    closed_at timestamptz,
    UNIQUE (currency, starts_at),
    CHECK (starts_at <= ends_at),
    CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);

-- The truth behind the leaderboards; Valkey holds a copy in order.
CREATE TABLE tournament_scores (
    tournament_id text NOT NULL REFERENCES tournaments,
    user_id uuid NOT NULL,
    score bigint NOT NULL CHECK (score > 0),
    reached_at timestamptz NOT NULL,
    PRIMARY KEY (tournament_id, user_id)
);
CREATE INDEX scores_in_order ON tournament_scores (tournament_id, score DESC, reached_at, user_id DESC);

-- migrate:down
