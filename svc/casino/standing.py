"""Who may play at all: not excluded players, nor those unverified or with a disputed payment."""

from svc.casino.contract import AccountBlocked, NotVerified, SelfExcluded
from svc.casino.store import Player
from svc.mesh.context import Context
from svc.mesh.errors import Refused

REFUSED_KYC = frozenset({"rejected", "expired"})
"""A verification that failed or ran out forbids play even where none is asked for."""


def exclusion(player: Player, context: Context) -> SelfExcluded | None:
    """Return the refusal of a player who is excluded now, or None."""
    until = player.excluded_until
    return (
        None if until is None or until <= context.now() else SelfExcluded(until=until.isoformat())
    )


def refusal(player: Player, context: Context) -> Refused | None:
    """Return why a player may not play now, or None; free spins are play too.

    With KYC_REQUIRED=1 players are verified before they gamble (UKGC LCCP 17.1.1).
    """
    if (excluded := exclusion(player, context)) is not None:
        return excluded
    if player.disputed:
        return AccountBlocked("a payment of yours is disputed; play again when that is decided")
    if player.kyc_status == "verified":
        return None
    required = context.runtime.settings.get("KYC_REQUIRED", "0") == "1"
    if required or player.kyc_status in REFUSED_KYC:
        return NotVerified("your account must be verified first", kyc_status=player.kyc_status)
    return None
