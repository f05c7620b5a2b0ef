"""The SQL of who may play: verifications and disputes, as other services told of them."""

from datetime import datetime

from svc.casino.store import hold_player
from svc.mesh.database import Tx


async def set_kyc(tx: Tx, user_id: str, status: str, at: datetime) -> None:
    """Keep the newest state of the verification, in whatever order events come."""
    await tx.execute(
        """INSERT INTO players (user_id, kyc_status, kyc_at) VALUES ($1, $2, $3)
           ON CONFLICT (user_id) DO UPDATE
           SET kyc_status = EXCLUDED.kyc_status, kyc_at = EXCLUDED.kyc_at
           WHERE players.kyc_at IS NULL OR players.kyc_at <= EXCLUDED.kyc_at""",
        user_id,
        status,
        at,
    )


async def note_dispute(tx: Tx, dispute_id: str, user_id: str, *, closed: bool) -> None:
    """Keep that a dispute began or ended, in whatever order its news come."""
    await hold_player(tx, user_id)  # two disputes of one player stand in line
    await tx.execute(
        """INSERT INTO disputes AS known (dispute_id, user_id, closed) VALUES ($1, $2, $3)
           ON CONFLICT (dispute_id) DO UPDATE SET closed = known.closed OR EXCLUDED.closed""",
        dispute_id,
        user_id,
        closed,
    )
    await tx.execute(
        """UPDATE players
           SET disputed = EXISTS (SELECT FROM disputes WHERE user_id = $1 AND NOT closed)
           WHERE user_id = $1""",
        user_id,
    )
