"""What identity offers around limits on play: they are the player's, whatever is played."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Event
from svc.mesh.errors import NotFound, Refused
from svc.mesh.types import Amount, AmountOrZero, Empty, EventData, Id, Request

PRODUCTS = ("sportsbook", "casino")
"""Where stakes are made."""
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
    placed_at: datetime


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
    callers=PRODUCTS, refuses=(NotFound, LimitExceeded), idempotent=True,
)  # fmt: skip
