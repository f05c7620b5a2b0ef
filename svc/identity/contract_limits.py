"""What identity offers around limits on play: they are the player's, whatever is played."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Event
from svc.mesh.errors import NotFound, Refused
from svc.mesh.types import Amount, AmountOrZero, Empty, EventData, Id, Instant, Request

PRODUCTS = ("sportsbook", "casino")
"""Where stakes are made."""
STAKERS = (*PRODUCTS, "gateway")
"""Who has stakes counted: the products, and the gRPC door for callers from outside."""
TOLD_MAX = 500


class LimitExceeded(Refused):
    """The stake would pass a limit that the player has set."""

    name = "limit-exceeded"
    status = 422


class CountStake(Request, frozen=True, kw_only=True):
    """Count a stake of a player with limits, before the wallet is asked for it; minor units."""

    user_id: Id
    stake_id: Id
    amount: Amount
    placed_at: Instant


class CountReturn(Request, frozen=True, kw_only=True):
    """Count what was paid for a counted stake, once under the payment's id; minor units.

    Without a payment the stake itself, or what `stake_id` paid, is back: it was not taken, or was
    rolled back.
    """

    stake_id: Id
    payment_id: Id | None = None
    amount: AmountOrZero = 0


class ToldStake(Struct, frozen=True, kw_only=True):
    """A stake as it stands: nothing staked when it was not taken after all."""

    stake_id: Id
    staked: AmountOrZero
    returned: AmountOrZero
    placed_at: datetime


class StakesTold(EventData, frozen=True, kw_only=True):
    """How stakes of a player with limits stand, in the place of what was told of them before."""

    user_id: Id
    stakes: Annotated[list[ToldStake], Meta(min_length=1, max_length=TOLD_MAX)]


STAKES_TOLD = Event(
    "StakesToldEvent", "user", StakesTold,
    "A product tells how stakes of a player with limits stand.", PRODUCTS,
)  # fmt: skip
COUNT_STAKE = Call(
    "rpc.identity.v1.count_stake", CountStake, Empty,
    "Count a stake against the player's limits over all products.",
    callers=STAKERS, refuses=(NotFound, LimitExceeded), idempotent=True,
)  # fmt: skip
COUNT_RETURN = Call(
    "rpc.identity.v1.count_return", CountReturn, Empty,
    "Count what came back of a stake of a caller from outside; products tell it by event.",
    callers=("gateway",), idempotent=True,
)  # fmt: skip
