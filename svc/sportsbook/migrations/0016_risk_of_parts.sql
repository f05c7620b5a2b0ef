-- migrate:up
-- What an outcome could cost is what its bets pay if they win, and were paid for parts that were
-- bought back, less their stakes. The parts were missing: they are added for all bets that are still
-- in these sums, open ones and decided singles.
UPDATE exposure SET amount = exposure.amount + bought.amount
FROM (
    SELECT event_id, market_id, specifiers, outcome_id, sum(cashed_out)::bigint AS amount
    FROM leg JOIN bet USING (bet_id)
    WHERE part = 'win' AND cashed_out > 0
      AND (status = 'accepted' OR status IN ('settled', 'cancelled')
           AND NOT EXISTS (SELECT FROM leg other WHERE other.bet_id = bet.bet_id AND other.leg_no > 1))
    GROUP BY event_id, market_id, specifiers, outcome_id
) AS bought
WHERE exposure.event_id = bought.event_id AND exposure.market_id = bought.market_id
  AND exposure.specifiers = bought.specifiers AND exposure.outcome_id = bought.outcome_id;

-- migrate:down
