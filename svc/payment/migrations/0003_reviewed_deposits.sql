-- migrate:up
-- Such a deposit is only authorised at first: an operator captures it, a part of it, or lets it go.
ALTER TABLE deposits ADD COLUMN reviewed boolean NOT NULL DEFAULT false;

-- migrate:down
