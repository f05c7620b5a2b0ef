"""The messages of the Unified Odds Feed, typed: what each kind says once it has been read.

Attribute names and code numbers are those of the feed (docs.sportradar.com/uof).
"""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct

from svc.sportsbook.contract import EventStatus, MarketStatus

EVENT_ID = re.compile(r"[A-Za-z0-9:_-]{1,64}")
"""Ids of events stand in NATS subjects, so only characters that are legal there may come in."""

CANCELLED_CHANGE = 3
"""The fixture_change that says an event will not take place."""

FACTOR_PLACES_MAX = 12

EventId = Annotated[str, Meta(pattern=rf"^{EVENT_ID.pattern}$")]
OutcomeId = Annotated[str, Meta(min_length=1, max_length=255)]
MarketId = Annotated[int, Meta(ge=0, le=1_000_000)]
Millis = Annotated[int, Meta(ge=0, le=32_503_680_000_000, description="Unix time, ms, to 3000")]
Product = Annotated[int, Meta(ge=0, le=1000)]
Result = Annotated[int, Meta(ge=-1, le=1)]


class OutcomeOdds(Struct, frozen=True, kw_only=True):
    """An outcome's price; missing `active` means active.

    The chances are the feed's own, without margin; None where it does not tell them.
    """

    id: OutcomeId
    odds: Decimal | None = None
    active: bool = True
    probabilities: Decimal | None = None
    win_probabilities: Decimal | None = None
    half_win_probabilities: Decimal | None = None
    refund_probabilities: Decimal | None = None
    half_lose_probabilities: Decimal | None = None

    @property
    def chances(self) -> tuple[Decimal | None, ...]:
        """Return the chances to win, to win half, to get the stake back, to lose half.

        A market without halves tells only how likely the outcome is.
        """
        if self.win_probabilities is None:
            return self.probabilities, None, None, None
        return (
            self.win_probabilities,
            self.half_win_probabilities,
            self.refund_probabilities,
            self.half_lose_probabilities,
        )


class MarketOdds(Struct, frozen=True, kw_only=True):
    """A market with all its current outcomes; missing status means active."""

    id: MarketId
    specifiers: str
    status: MarketStatus = "active"
    cashout_status: Annotated[int, Meta(ge=-2, le=1)] | None = None
    outcomes: list[OutcomeOdds] = []


class OutcomeResult(Struct, frozen=True, kw_only=True):
    """How an outcome came in: result 1 won, 0 lost, -1 undecided."""

    id: OutcomeId
    result: Result
    void_factor: Decimal = Decimal(0)
    dead_heat_factor: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        """Refuse factors outside [0, 1] and (0, 1]."""
        if not (_is_small(self.void_factor) and self.void_factor >= 0):
            raise ValueError("void_factor must be between 0 and 1")
        if not (_is_small(self.dead_heat_factor) and self.dead_heat_factor > 0):
            raise ValueError("dead_heat_factor must be above 0 and at most 1")


def _is_small(number: Decimal) -> bool:
    """Tell whether a factor is at most 1 and short: fractions of huge exponents fill the memory."""
    return number.is_finite() and abs(number) <= 1 and number == round(number, FACTOR_PLACES_MAX)


class MarketResult(Struct, frozen=True, kw_only=True):
    """A market's results."""

    id: MarketId
    specifiers: str
    outcomes: list[OutcomeResult] = []


class MarketRef(Struct, frozen=True, kw_only=True):
    """A market that a message is about."""

    id: MarketId
    specifiers: str


class FeedMessage(Struct, frozen=True, kw_only=True):
    """What every message of the feed has; `timestamp` is in ms since 1970."""

    timestamp: Millis
    request_id: int | None = None


class EventMessage(FeedMessage, frozen=True, kw_only=True):
    """A message about one event."""

    event_id: EventId


class LooseMessage(EventMessage, frozen=True, kw_only=True):
    """A message about one event that may come without its producer."""

    product: Product | None = None


class SportEventStatus(Struct, frozen=True, kw_only=True):
    """Where the event stands; None where the message does not say."""

    status: EventStatus | None = None
    home_score: str | None = None
    away_score: str | None = None


class OddsChange(EventMessage, frozen=True, kw_only=True):
    """New odds and status of the markets that it lists."""

    product: Product
    markets: list[MarketOdds] = []
    sport_event_status: SportEventStatus | None = None


class BetStop(EventMessage, frozen=True, kw_only=True):
    """Take no bets now on the markets of these groups (`all`, or names joined by `|`)."""

    product: Product
    groups: str = "all"
    market_status: MarketStatus = "suspended"


class BetSettlement(EventMessage, frozen=True, kw_only=True):
    """Results; certainty 1 is scouted live, 2 is confirmed."""

    product: Product
    certainty: int = 2
    markets: list[MarketResult] = []


class RollbackBetSettlement(LooseMessage, frozen=True, kw_only=True):
    """The settlement of these markets was wrong."""

    markets: list[MarketRef] = []


class BetCancel(LooseMessage, frozen=True, kw_only=True):
    """Bets on these markets that were struck in [start_time, end_time) are void."""

    markets: list[MarketRef] = []
    start_time: Millis | None = None
    end_time: Millis | None = None


class RollbackBetCancel(LooseMessage, frozen=True, kw_only=True):
    """The cancellation with this window was wrong."""

    markets: list[MarketRef] = []
    start_time: Millis | None = None
    end_time: Millis | None = None


class FixtureChange(LooseMessage, frozen=True, kw_only=True):
    """The fixture changed; `start_time` is in ms since 1970."""

    change_type: int | None = None
    start_time: Millis | None = None


class Alive(FeedMessage, frozen=True, kw_only=True):
    """A producer lives; not subscribed means that messages were missed."""

    product: Product
    subscribed: bool = True


class SnapshotComplete(FeedMessage, frozen=True, kw_only=True):
    """A recovery has been sent whole."""

    product: Product


class FixtureDocument(Struct, frozen=True, kw_only=True):
    """The API's `fixtures_fixture`: who plays whom and when."""

    event_id: EventId
    generated_at: datetime | None = None
    start_time: datetime | None = None
    status: EventStatus | None = None
    sport: str = ""
    home: str = ""
    away: str = ""
    name: str = ""


Message = (
    OddsChange
    | BetStop
    | BetSettlement
    | RollbackBetSettlement
    | BetCancel
    | RollbackBetCancel
    | FixtureChange
    | Alive
    | SnapshotComplete
    | FixtureDocument
)
