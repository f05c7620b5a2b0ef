"""Accepted bets as striking leaves them, written in bulk: thousands before each measurement."""

from collections.abc import Sequence
from typing import Any

STAKE, PAYOUT = 100, 250
AT_ONCE = 100_000
TIMEOUT_S = 600


class Strikes:
    """Bets of some players, written straight into the sportsbook's database."""

    def __init__(self, database: Any, user_ids: Sequence[str]) -> None:
        """Take a connection that may do anything."""
        self.database = database
        self.user_ids = user_ids

    async def strike(self, event_id: str, count: int) -> None:
        """Write singles at 2.50 on an event's first outcome; the players' in turn.

        What a bet refers to is not looked up once for each: it is there.
        """
        await self.database.execute(
            "INSERT INTO player (user_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING",
            self.user_ids,
        )
        await self.database.execute("SET session_replication_role = replica")
        for start in range(0, count, AT_ONCE):
            await self._write(event_id, min(AT_ONCE, count - start))
        await self.database.execute("RESET session_replication_role")

    async def _write(self, event_id: str, count: int) -> None:
        await self.database.execute(
            """
            WITH struck AS (
                INSERT INTO bet (bet_id, user_id, idempotency_key, request_hash, kind, lines,
                    unit_stake, stake, currency, odds, potential_payout, status,
                    stake_transfer_id, rollback_transfer_id, placed_at, accepted_at)
                SELECT uuidv7(), ($1::uuid[])[1 + n % cardinality($1::uuid[])], uuidv7()::text,
                    sha256(n::text::bytea), 'single', 1, $4, $4, 'EUR', 2.50, $5, 'accepted',
                    uuidv7(), uuidv7(), now(), now()
                FROM generate_series(1, $3::integer) AS n
                RETURNING bet_id
            )
            INSERT INTO leg (bet_id, leg_no, event_id, market_id, specifiers, outcome_id, odds)
            SELECT bet_id, 1, $2, 1, '', '1', 2.50 FROM struck
            """,
            self.user_ids,
            event_id,
            count,
            STAKE,
            PAYOUT,
            timeout=TIMEOUT_S,
        )

    async def tidy(self) -> None:
        """Let Postgres know what is there, and write it to disk: no measurement pays for it."""
        await self.database.execute("VACUUM (ANALYZE) bet, leg", timeout=TIMEOUT_S)
        await self.database.execute("CHECKPOINT", timeout=TIMEOUT_S)

    async def waits(self) -> bool:
        """Say whether a message is still worked on, or a payment not yet made."""
        return await self.database.fetchval(
            "SELECT EXISTS (SELECT FROM feed_message WHERE status = 'received')"
            " OR EXISTS (SELECT FROM transfer_order WHERE done_at IS NULL)"
        )
