-- The same work as one statement, which is one round trip and one transaction: the least that one
-- transfer at a time can cost.
\set player random(1, :players)
\set amount case when random(1, 10) <= 7 then -300 else 700 end
WITH player AS (
    UPDATE account SET balance = balance + :amount, seq = seq + 1
    WHERE number = :player AND balance + :amount >= floor
    RETURNING number, balance, seq
), transferred AS (
    INSERT INTO transfer (id, account, amount, kind, reference, balance_after)
    SELECT uuidv7(), number, :amount, 'bet', 'bench', balance FROM player
    RETURNING id
), entered AS (
    INSERT INTO entry (transfer_id, account, contra, amount, seq, balance_after)
    SELECT id, number, 0, :amount, seq, balance FROM player, transferred
), house AS (
    UPDATE account SET balance = account.balance - :amount, seq = account.seq + 1
    FROM player WHERE account.number = 0
)
SELECT balance FROM player;
