"""sportsbook: fixtures, markets and odds from the feed, and the bets struck on them.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Annotated, Literal, cast

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Contract, Door, Event, Live, RawMessage, Route
from svc.mesh.errors import (
    Conflict,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    Unauthenticated,
)
from svc.mesh.types import (
    NO_ZERO,
    Amount,
    AmountOrZero,
    Currency,
    Empty,
    Id,
    IdempotencyKey,
    Limit,
    LocaleTag,
    OddsText,
    Reply,
    Request,
    ShortText,
)
from svc.sportsbook.contract_bets import (
    AccountBlocked,
    BetCancelled,
    BetCashedOut,
    BetKind,
    BetPlaced,
    BetRefused,
    BetRejected,
    BetResult,
    BetRolledBack,
    BetSettled,
    BetStatus,
    CurrencyMismatch,
    FreeBetUnusable,
    LegResult,
    LimitExceeded,
    MarketClosed,
    NotVerified,
    OddsChanged,
    OddsPolicy,
    SelfExcluded,
    SystemName,
)
from svc.sportsbook.contract_feed import RECOVER_EVENT
from svc.sportsbook.contract_offers import (
    CASH_OUT,
    DEDUCT,
    GRANT_FREE_BET,
    LIST_FREE_BETS,
    QUOTE_CASH_OUT,
)

EventStatus = Literal[
    "not_started", "live", "suspended", "ended", "closed", "cancelled", "delayed", "interrupted",
    "postponed", "abandoned",
]  # fmt: skip
MarketStatus = Literal["active", "suspended", "inactive", "settled", "cancelled", "handed_over"]


class Selection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One leg of a slip, with the odds that the player saw."""

    event_id: ShortText
    market_id: Annotated[int, Meta(ge=0, le=1_000_000)]
    specifiers: Annotated[str, Meta(max_length=255, pattern=NO_ZERO)] = ""
    outcome_id: ShortText
    odds: OddsText


class PlaceBet(Request, frozen=True, kw_only=True):
    """A slip: the stake in minor units, per line for systems, per half of each-way bets.

    A system is asked for by its name or by the lengths of its lines. With a free bet the stake is
    the house's, all of it, and is not returned.
    """

    user_id: Id
    idempotency_key: IdempotencyKey
    kind: BetKind
    selections: Annotated[list[Selection], Meta(min_length=1, max_length=20)]
    stake: Amount
    currency: Currency
    odds_policy: OddsPolicy = "none"
    system_sizes: Annotated[list[Annotated[int, Meta(ge=1, le=20)]], Meta(max_length=20)] | None = (
        None
    )
    system: SystemName | None = None
    each_way: bool = False
    free_bet_id: Id | None = None


class BetAccepted(Reply, frozen=True, kw_only=True):
    """The bet as it was struck: the whole stake, and odds as decimal text.

    The odds are what one unit of the stake returns when every leg wins; money in minor units.
    """

    bet_id: Id
    status: BetStatus
    stake: Amount
    odds: str
    potential_payout: AmountOrZero
    placed_at: datetime


class Leg(Struct, frozen=True, kw_only=True):
    """One leg of a bet as it stands; `place` is its place half, if the bet is each way."""

    event_id: str
    market_id: int
    specifiers: str
    outcome_id: str
    odds: str
    result: LegResult
    name: str = ""
    place: LegResult | None = None


class Bet(Reply, frozen=True, kw_only=True):
    """A bet with its legs; payout is None until it is settled.

    `cashed_out` was paid before that for parts of the bet; the payout is for what still ran.
    """

    bet_id: Id
    kind: BetKind
    status: BetStatus
    stake: Amount
    currency: Currency
    odds: str
    potential_payout: AmountOrZero
    payout: int | None
    result: BetResult | None
    legs: list[Leg]
    placed_at: datetime
    settled_at: datetime | None
    lines: int = 1
    system_sizes: list[int] | None = None
    each_way: bool = False
    free_bet_id: Id | None = None
    cashed_out: AmountOrZero = 0


class BetOf(Request, frozen=True, kw_only=True):
    """One of the player's own bets."""

    user_id: Id
    bet_id: Id


class BetsOf(Request, frozen=True, kw_only=True):
    """A page of the player's bets, newest first."""

    user_id: Id
    status: BetStatus | None = None
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=64)] | None = None


class Bets(Reply, frozen=True, kw_only=True):
    """A page of bets."""

    items: list[Bet]
    next_cursor: str | None


class Outcome(Struct, frozen=True, kw_only=True):
    """One outcome of a market with its current odds (None while it has no price)."""

    outcome_id: str
    name: str
    odds: str | None
    active: bool


class Market(Struct, frozen=True, kw_only=True):
    """One market of an event; identity is (event, market_id, specifiers sorted by key)."""

    market_id: int
    specifiers: str
    name: str
    status: MarketStatus
    outcomes: list[Outcome]


class Fixture(Struct, frozen=True, kw_only=True):
    """An event as the feed knows it; names may come later than the first odds."""

    event_id: str
    sport: str
    name: str
    starts_at: datetime | None
    status: EventStatus
    score: str


class EventsWith(Request, frozen=True, kw_only=True):
    """Which events."""

    status: EventStatus | None = None
    sport: Annotated[str, Meta(max_length=64, pattern=NO_ZERO)] | None = None
    limit: Limit = 100


class Fixtures(Reply, frozen=True, kw_only=True):
    """The events found, by start time."""

    items: list[Fixture]


class EventOf(Request, frozen=True, kw_only=True):
    """One event; with a locale its markets and outcomes are named in that language."""

    event_id: ShortText
    locale: LocaleTag | None = None


class EventDetail(Reply, frozen=True, kw_only=True):
    """An event with its markets, outcomes and odds: also each frame of the odds channel."""

    event_id: str
    sport: str
    name: str
    starts_at: datetime | None
    status: EventStatus
    score: str
    markets: list[Market]
    version: int


class Liabilities(Request, frozen=True, kw_only=True):
    """What the house could have to pay."""

    actor_id: Id | None = None


class Liability(Struct, frozen=True, kw_only=True):
    """The open risk of one currency, in minor units."""

    currency: Currency
    open_bets: int
    stakes: AmountOrZero
    potential_payout: AmountOrZero


class LiabilityReport(Reply, frozen=True, kw_only=True):
    """The open risk by currency."""

    items: list[Liability]


BET_PLACED = Event("BetPlacedEvent", "betting", BetPlaced, "A bet was accepted.")
BET_SETTLED = Event("BetSettledEvent", "betting", BetSettled, "A bet was decided.")
BET_CANCELLED = Event("BetCancelledEvent", "betting", BetCancelled, "A bet was voided.")
BET_REJECTED = Event("BetRejectedEvent", "betting", BetRejected, "A bet was refused.")
BET_ROLLED_BACK = Event(
    "BetRolledBackEvent", "betting", BetRolledBack, "What a bet was paid is taken back."
)
BET_CASHED_OUT = Event("BetCashedOutEvent", "betting", BetCashedOut, "A bet was bought back.")

LIST_EVENTS = Call(
    "rpc.sportsbook.v1.list_events", EventsWith, Fixtures, "List fixtures.", idempotent=True,
    route=Route(method="GET", path="/v1/events", role="public", tag="sportsbook"),
)  # fmt: skip
GET_EVENT = Call(
    "rpc.sportsbook.v1.get_event", EventOf, EventDetail, "Read an event with its odds.",
    refuses=(NotFound,), idempotent=True,
    route=Route(method="GET", path="/v1/events/{event_id}", role="public", tag="sportsbook"),
)  # fmt: skip
PLACE_BET = Call(
    "rpc.sportsbook.v1.place_bet", PlaceBet, BetAccepted, "Place a bet.",
    refuses=(
        OddsChanged, MarketClosed, LimitExceeded, SelfExcluded, NotVerified, AccountBlocked,
        BetRefused, CurrencyMismatch, FreeBetUnusable, NotFound, Conflict, IdempotencyMismatch,
    ),
    # Many wait at once: for the delay of live bets, and to be written together.
    idempotent=True, deadline_ms=3_000, workers=1_024,
    route=Route(
        method="POST", path="/v1/bets", status=201, tag="sportsbook", from_token=("user_id",),
        idempotent=True,
    ),
)  # fmt: skip
LIST_BETS = Call(
    "rpc.sportsbook.v1.list_bets", BetsOf, Bets, "List one's bets.", idempotent=True,
    route=Route(method="GET", path="/v1/bets", tag="sportsbook", from_token=("user_id",)),
)  # fmt: skip
GET_BET = Call(
    "rpc.sportsbook.v1.get_bet", BetOf, Bet, "Read one of one's bets.",
    refuses=(NotFound,), idempotent=True,
    route=Route(method="GET", path="/v1/bets/{bet_id}", tag="sportsbook", from_token=("user_id",)),
)  # fmt: skip
INGEST = Call(
    "rpc.sportsbook.v1.ingest", RawMessage, Empty, "Take in one message of the odds feed.",
    callers=("gateway",), refuses=(Unauthenticated,), idempotent=True, deadline_ms=5_000,
)  # fmt: skip
LIABILITIES = Call(
    "rpc.sportsbook.v1.liabilities", Liabilities, LiabilityReport, "Sum the open risk.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/sportsbook/liabilities", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

LIVE_PACE_MS = 100
"""A client gets at most one frame of an event in this time: the newest."""
ODDS = Live(
    "odds", EventDetail, "/ws/odds/{key}", cast("Call[Struct, Struct]", GET_EVENT), "event_id",
    purpose="An event's markets and odds, whole, whenever they change.", pace_ms=LIVE_PACE_MS,
)  # fmt: skip
BOARD = Live(
    "board", EventDetail, "/ws/odds", cast("Call[Struct, Struct]", LIST_EVENTS),
    purpose="All events: first the list, then each event whole whenever it changes.",
    pace_ms=LIVE_PACE_MS, follows="odds",
)  # fmt: skip

SPORTSBOOK = Contract(
    name="sportsbook",
    version="1.0.0",
    purpose="Fixtures, markets and odds from BetRadar; bets and their settlement.",
    answers=(
        LIST_EVENTS, GET_EVENT, PLACE_BET, LIST_BETS, GET_BET, INGEST, LIABILITIES, QUOTE_CASH_OUT,
        CASH_OUT, LIST_FREE_BETS, GRANT_FREE_BET, DEDUCT, RECOVER_EVENT,
    ),
    publishes=(
        BET_PLACED, BET_SETTLED, BET_CANCELLED, BET_REJECTED, BET_ROLLED_BACK, BET_CASHED_OUT,
    ),
    pushes=(ODDS, BOARD),
    doors=(
        Door(
            path="/feeds/betradar", call=INGEST, headers=("x-access-token",),
            media_type="application/xml", status=202, sender="BetRadar",
        ),
    ),
)  # fmt: skip
