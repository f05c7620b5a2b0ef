-- migrate:up
-- A page of bets has room for each of them twice: those that are accepted together lie side by side,
-- and what finds no room in its page is written into all indexes anew. Settling reuses the room.
ALTER TABLE bet SET (fillfactor = 50);
-- migrate:down
