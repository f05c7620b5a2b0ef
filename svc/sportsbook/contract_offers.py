"""Buying bets back, free bets and deductions: a part of the contract."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from svc.mesh.contract import Call, Route
from svc.mesh.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Refused
from svc.mesh.types import (
    NO_ZERO,
    Amount,
    AmountOrZero,
    Currency,
    Empty,
    Id,
    IdempotencyKey,
    Instant,
    Reply,
    Request,
    ShortText,
)
from svc.sportsbook.contract_bets import BetStatus, MarketClosed

Part = (
    Annotated[float, Meta(gt=0)]
    | Annotated[str, Meta(pattern=r"^(0\.[0-9]{1,4}|1|1\.0{1,4})$", max_length=6)]
)
"""A part of a whole, above 0 and at most 1, with up to four places: as a number or as text."""


class QuoteExpired(Refused):
    """The offer does not hold any more."""

    name = "quote-expired"
    status = 409


class NoCashOut(Refused):
    """The bet cannot be bought back now."""

    name = "no-cash-out"
    status = 409


class QuoteOf(Request, frozen=True, kw_only=True):
    """Which bet one wants to sell back."""

    user_id: Id
    bet_id: Id


class CashOutQuote(Reply, frozen=True, kw_only=True):
    """What the house pays for the whole of what still runs, in minor units, until it expires."""

    quote_id: Id
    amount: Amount
    expires_at: datetime


class CashOut(Request, frozen=True, kw_only=True):
    """Take an offer, whole or in part."""

    user_id: Id
    bet_id: Id
    idempotency_key: IdempotencyKey
    quote_id: Id
    fraction: Part = 1.0


class CashedOut(Reply, frozen=True, kw_only=True):
    """What was paid; the status is cashed_out, or accepted while a part runs on."""

    bet_id: Id
    quote_id: Id
    amount: AmountOrZero
    status: BetStatus


class FreeBetsOf(Request, frozen=True, kw_only=True):
    """Whose free bets."""

    user_id: Id


class FreeBet(Reply, frozen=True, kw_only=True):
    """A free bet: its amount is the whole stake of one bet, and is not returned."""

    free_bet_id: Id
    amount: Amount
    currency: Currency
    expires_at: datetime


class FreeBets(Reply, frozen=True, kw_only=True):
    """The free bets that can be used."""

    items: list[FreeBet]


class GrantFreeBet(Request, frozen=True, kw_only=True):
    """Give a player a free bet."""

    actor_id: Id | None = None
    user_id: Id
    amount: Amount
    currency: Currency
    days: Annotated[int, Meta(ge=1, le=365)] = 7


class Deduction(Request, frozen=True, kw_only=True):
    """Take a part of the winnings of bets struck on a market before a withdrawal (Rule 4).

    Bets struck in [from_at, until_at) are concerned, settled ones too.
    """

    actor_id: Id | None = None
    event_id: ShortText
    market_id: Annotated[int, Meta(ge=0, le=1_000_000)]
    specifiers: Annotated[str, Meta(max_length=255, pattern=NO_ZERO)] = ""
    percent: Annotated[int, Meta(ge=1, le=90)]
    from_at: Instant
    until_at: Instant


QUOTE_CASH_OUT = Call(
    "rpc.sportsbook.v1.quote_cash_out", QuoteOf, CashOutQuote, "Offer to buy a bet back.",
    refuses=(NotFound, NoCashOut, MarketClosed),
    route=Route(
        method="POST", path="/v1/bets/{bet_id}/cash-out/quote", tag="sportsbook",
        from_token=("user_id",),
    ),
)  # fmt: skip
CASH_OUT = Call(
    "rpc.sportsbook.v1.cash_out", CashOut, CashedOut, "Sell a bet back, whole or in part.",
    refuses=(NotFound, QuoteExpired, NoCashOut, MarketClosed, Conflict, IdempotencyMismatch),
    idempotent=True, deadline_ms=3_000,
    route=Route(
        method="POST", path="/v1/bets/{bet_id}/cash-out", tag="sportsbook",
        from_token=("user_id",), idempotent=True,
    ),
)  # fmt: skip
LIST_FREE_BETS = Call(
    "rpc.sportsbook.v1.list_free_bets", FreeBetsOf, FreeBets, "List one's free bets.",
    idempotent=True,
    route=Route(method="GET", path="/v1/free-bets", tag="sportsbook", from_token=("user_id",)),
)  # fmt: skip
GRANT_FREE_BET = Call(
    "rpc.sportsbook.v1.grant_free_bet", GrantFreeBet, FreeBet, "Give a player a free bet.",
    refuses=(Forbidden,),
    route=Route(
        method="POST", path="/v1/admin/sportsbook/free-bets", role="operator", status=201,
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
DEDUCT = Call(
    "rpc.sportsbook.v1.deduct", Deduction, Empty, "Deduct from winnings after a withdrawal.",
    refuses=(Forbidden,), idempotent=True, deadline_ms=10_000,
    route=Route(
        method="POST", path="/v1/admin/sportsbook/deductions", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
