"""Who may bet at all: not excluded players, nor those unverified or with a disputed payment."""

from datetime import datetime

from svc.mesh.context import Context
from svc.sportsbook import rules
from svc.sportsbook.contract import AccountBlocked, NotVerified
from svc.sportsbook.store_players import Player

REFUSED_KYC = frozenset({"rejected", "expired"})
"""A verification that failed or ran out forbids bets even where none is asked for."""


def check(player: Player, now: datetime, context: Context) -> None:
    """Refuse who may not bet now; raises SelfExcluded, AccountBlocked or NotVerified.

    With KYC_REQUIRED=1 players are verified before they gamble (UKGC LCCP 17.1.1).
    """
    rules.check_player(player.excluded_until, now)
    if player.disputed:
        raise AccountBlocked("a payment of yours is disputed; bet again when that is decided")
    if player.kyc_status == "verified":
        return
    required = context.runtime.settings.get("KYC_REQUIRED", "0") == "1"
    if required or player.kyc_status in REFUSED_KYC:
        raise NotVerified("your account must be verified first", kyc_status=player.kyc_status)
