"""marketing: campaigns, bonuses, spin chances and loyalty.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from svc.mesh.contract import Call, Contract, Event, Route
from svc.mesh.errors import Forbidden, NotFound, Refused
from svc.mesh.types import AmountOrZero, Currency, EventData, Id, Reply, Request, ShortText

BonusKind = Literal["cash", "bonus", "free_spins"]
BonusStatus = Literal["active", "completed", "expired", "forfeited"]
Product = Literal["sportsbook", "casino"]


class NoSpinsLeft(Refused):
    """There is no spin chance left for this game."""

    name = "no-spins-left"
    status = 422


class OfPlayer(Request, frozen=True, kw_only=True):
    """Something of the player's own."""

    user_id: Id


class Bonus(Struct, frozen=True, kw_only=True):
    """An award: amounts in minor units, 0 for spin chances.

    It turns into cash once stakes on its product have counted as `wagering_required`; `wagered` is
    what has counted so far. Both are 0 where nothing needs to be wagered.
    """

    award_id: Id
    campaign: str
    name: str
    kind: BonusKind
    amount: AmountOrZero
    currency: Currency
    spins: int
    status: BonusStatus
    awarded_at: datetime
    expires_at: datetime | None
    product: Product | None = None
    wagering_required: AmountOrZero = 0
    wagered: AmountOrZero = 0


class Bonuses(Reply, frozen=True, kw_only=True):
    """The player's awards, newest first."""

    items: list[Bonus]


class Loyalty(Reply, frozen=True, kw_only=True):
    """The player's points and tier; `pending` points come with the settlement of open bets."""

    points: int
    pending: int
    tier: str
    next_tier: str | None
    points_to_next: int | None


class Spins(Reply, frozen=True, kw_only=True):
    """The player's spin chances by game."""

    remaining: int
    by_game: dict[str, int]


class ConsumeSpin(Request, frozen=True, kw_only=True):
    """Use one spin chance up; the same spin_id again is the same spin."""

    user_id: Id
    game_id: ShortText
    spin_id: Id


class SpinConsumed(Reply, frozen=True, kw_only=True):
    """The chance is used: what the spin is worth as a stake, in minor units."""

    spin_id: Id
    bet_size: AmountOrZero
    currency: Currency
    remaining: int


class CampaignsOf(Request, frozen=True, kw_only=True):
    """Which campaigns run."""

    actor_id: Id | None = None


class Campaign(Struct, frozen=True, kw_only=True):
    """A campaign and what it has awarded, in minor units."""

    campaign: str
    name: str
    active: bool
    awards: int
    amount: AmountOrZero
    spins: int


class Campaigns(Reply, frozen=True, kw_only=True):
    """All campaigns."""

    items: list[Campaign]


class BonusAwarded(EventData, frozen=True, kw_only=True):
    """A player got an award: the wallet credits money kinds under `transfer_id`.

    `after` is the transfer of what was decided before about the player's bonus money, if anything
    was: the wallet applies them in that order, however the events come.
    """

    award_id: Id
    user_id: Id
    campaign: str
    kind: BonusKind
    amount: AmountOrZero
    currency: Currency
    spins: int
    transfer_id: Id
    expires_at: datetime | None
    after: Id | None = None


class BonusExpired(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """A bonus ran out: the wallet takes back what is left of it, at most `amount`.

    `forfeited` by a withdrawal before it was played out: with its winnings, never with cash.
    `after` as in BonusAwarded.
    """

    award_id: Id
    user_id: Id
    amount: AmountOrZero
    currency: Currency
    transfer_id: Id
    forfeited: bool = False
    after: Id | None = None


class BonusConverted(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """A bonus was wagered as required: the wallet turns what is left of it into cash.

    That is the bonus money above `kept`, which other bonuses of the player gave, and at most
    `amount`; what is above both is taken back under `expiry_transfer_id`. `after` as in
    BonusAwarded.
    """

    award_id: Id
    user_id: Id
    amount: AmountOrZero
    kept: AmountOrZero
    currency: Currency
    transfer_id: Id
    expiry_transfer_id: Id
    after: Id | None = None


class LoyaltyPointsEarned(EventData, frozen=True, kw_only=True):
    """Settled stakes earned points (or a void or a rollback took them back: negative)."""

    user_id: Id
    points: int
    balance: int
    tier: str
    reference: str


BONUS_AWARDED = Event("BonusAwardedEvent", "marketing", BonusAwarded, "A player got an award.")
BONUS_EXPIRED = Event("BonusExpiredEvent", "marketing", BonusExpired, "A bonus ran out.")
BONUS_CONVERTED = Event(
    "BonusConvertedEvent", "marketing", BonusConverted, "A bonus was wagered and becomes cash."
)
LOYALTY_POINTS_EARNED = Event(
    "LoyaltyPointsEarnedEvent", "marketing", LoyaltyPointsEarned, "Stakes earned points."
)

BONUSES = Call(
    "rpc.marketing.v1.bonuses", OfPlayer, Bonuses, "List one's awards.", idempotent=True,
    route=Route(
        method="GET", path="/v1/marketing/bonuses", tag="marketing", from_token=("user_id",)
    ),
)  # fmt: skip
LOYALTY = Call(
    "rpc.marketing.v1.loyalty", OfPlayer, Loyalty, "Read one's points and tier.", idempotent=True,
    route=Route(
        method="GET", path="/v1/marketing/loyalty", tag="marketing", from_token=("user_id",)
    ),
)  # fmt: skip
SPINS = Call(
    "rpc.marketing.v1.spins", OfPlayer, Spins, "Count one's spin chances.", idempotent=True,
    route=Route(method="GET", path="/v1/marketing/spins", tag="marketing", from_token=("user_id",)),
)  # fmt: skip
CONSUME_SPIN = Call(
    "rpc.marketing.v1.consume_spin", ConsumeSpin, SpinConsumed, "Use one spin chance up.",
    callers=("casino",), refuses=(NoSpinsLeft, NotFound), idempotent=True,
)  # fmt: skip
CAMPAIGNS = Call(
    "rpc.marketing.v1.campaigns", CampaignsOf, Campaigns, "List campaigns and their cost.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/marketing/campaigns", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

MARKETING = Contract(
    name="marketing",
    version="1.0.0",
    purpose="Bonuses, campaigns, spin chances and loyalty.",
    answers=(BONUSES, LOYALTY, SPINS, CONSUME_SPIN, CAMPAIGNS),
    publishes=(BONUS_AWARDED, BONUS_EXPIRED, BONUS_CONVERTED, LOYALTY_POINTS_EARNED),
)
