"""What a bet is made of, and what the sportsbook tells of bets: a part of its contract.

Others import these from `contract`.
"""

from typing import Literal

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
