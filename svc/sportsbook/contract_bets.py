"""What bets are made of, why they are refused, and what is told of them: a part of the contract.

Others import these from `contract`.
"""

from typing import Literal

from svc.mesh.errors import Refused
from svc.mesh.types import Amount, AmountOrZero, Currency, EventData, Id

BetKind = Literal["single", "accumulator", "system"]
BetStatus = Literal["pending", "accepted", "rejected", "settled", "cancelled", "cashed_out"]
OddsPolicy = Literal["none", "higher", "any"]
BetResult = Literal["won", "lost", "void", "partial", "cashed_out"]
LegResult = Literal["open", "won", "lost", "void", "half_won", "half_lost"]
SystemName = Literal[
    "trixie", "patent", "yankee", "lucky15", "canadian", "super_yankee", "lucky31", "heinz",
    "lucky63", "super_heinz", "goliath",
]  # fmt: skip


class OddsChanged(Refused):
    """The odds are not what the slip says any more."""

    name = "odds-changed"
    status = 409


class MarketClosed(Refused):
    """The market takes no bets now."""

    name = "market-closed"
    status = 409


class LimitExceeded(Refused):
    """The stake is outside the limits."""

    name = "limit-exceeded"
    status = 422


class SelfExcluded(Refused):
    """The player is excluded from play."""

    name = "self-excluded"
    status = 403


class NotVerified(Refused):
    """The player's identity is not verified, or the verification failed."""

    name = "not-verified"
    status = 403


class AccountBlocked(Refused):
    """A payment of the player's is disputed: nothing is staked until that is decided."""

    name = "account-blocked"
    status = 403


class BetRefused(Refused):
    """The bet was refused by the wallet."""

    name = "insufficient-funds"
    status = 422


class FreeBetUnusable(Refused):
    """The free bet cannot be used for this."""

    name = "free-bet-unusable"
    status = 422


class CurrencyMismatch(Refused):
    """The player's wallet is kept in another currency."""

    name = "currency-mismatch"
    status = 422


class BetPlaced(EventData, frozen=True, kw_only=True):
    """A bet was accepted and its stake deducted."""

    bet_id: Id
    user_id: Id
    kind: BetKind
    stake: Amount
    currency: Currency
    odds: str
    potential_payout: AmountOrZero
    legs: int
    event_ids: list[str]
    stake_transfer_id: Id
    free: bool = False


class BetSettled(EventData, frozen=True, kw_only=True):
    """A bet was decided: the wallet credits `payout` under `transfer_id` (0: nothing to pay).

    A bet that is settled again was rolled back before, see BetRolledBack. Of a `free` bet the
    stake is the house's.
    """

    bet_id: Id
    user_id: Id
    result: BetResult
    stake: Amount
    payout: AmountOrZero
    currency: Currency
    odds: str
    transfer_id: Id
    stake_transfer_id: Id
    free: bool = False


class BetCancelled(EventData, frozen=True, kw_only=True):
    """A bet was voided: the wallet gives `refund` back under `transfer_id`."""

    bet_id: Id
    user_id: Id
    stake: Amount
    refund: AmountOrZero
    currency: Currency
    reason: str
    transfer_id: Id
    stake_transfer_id: Id


class BetRolledBack(EventData, frozen=True, kw_only=True):
    """What a bet was paid is taken back under `transfer_id`: its settlement did not hold.

    `payout` and `refund` are what it was paid as settled or as cancelled, one of them 0. The bet is
    open again unless an event says at once how it is settled now.
    """

    bet_id: Id
    user_id: Id
    payout: AmountOrZero
    refund: AmountOrZero
    currency: Currency
    transfer_id: Id
    original_transfer_id: Id
    stake_transfer_id: Id


class BetCashedOut(EventData, frozen=True, kw_only=True):
    """A bet, or a part of it, was bought back for `amount`, paid under `transfer_id`.

    `whole`: nothing runs on. `fraction` is the part of what ran, as decimal text.
    """

    bet_id: Id
    user_id: Id
    amount: AmountOrZero
    fraction: str
    whole: bool
    currency: Currency
    transfer_id: Id
    stake_transfer_id: Id


class BetRejected(EventData, frozen=True, kw_only=True):
    """A bet was refused after it was taken in; no money moved."""

    bet_id: Id
    user_id: Id
    reason: str
