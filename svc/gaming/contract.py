"""gaming: jackpots, raffles and tournaments, fed by what players stake and deposit.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Literal, cast

from msgspec import Struct

from svc.mesh.contract import Call, Contract, Event, Live, Route
from svc.mesh.errors import Conflict, Forbidden, NotFound
from svc.mesh.types import (
    Amount,
    AmountOrZero,
    Currency,
    EventData,
    Id,
    Limit,
    LocaleTag,
    Reply,
    Request,
    ShortText,
)

PrizeKind = Literal["jackpot", "raffle", "tournament"]


class ListJackpots(Request, frozen=True, kw_only=True):
    """Which jackpots there are, with names in a language."""

    locale: LocaleTag = "en"


class JackpotWin(Struct, frozen=True, kw_only=True):
    """The last time a pot was won: SHA-256 of "target|salt" is the commitment of that cycle."""

    cycle: int
    amount: Amount
    target: Amount
    salt: str
    commitment: str
    won_at: datetime


class Jackpot(Struct, frozen=True, kw_only=True):
    """A progressive pot: its value in whole minor units, and how often it was won.

    It drops at the latest when its value reaches `cap`; `cycle` counts pots from 1.
    """

    jackpot_id: str
    name: str
    currency: Currency
    value: AmountOrZero
    seed: AmountOrZero
    wins: int
    commitment: str
    cap: AmountOrZero = 0
    cycle: int = 1
    last_win: JackpotWin | None = None


class Jackpots(Reply, frozen=True, kw_only=True):
    """All pots: also each frame of the live channel."""

    items: list[Jackpot]


class ListRaffles(Request, frozen=True, kw_only=True):
    """Which raffles there are, with names in a language."""

    locale: LocaleTag = "en"


class Raffle(Struct, frozen=True, kw_only=True):
    """A raffle: the seed's commitment is public from the start, the seed after the draw.

    Each of the winning tickets, `winners` in order, gets `prize`.
    """

    raffle_id: str
    name: str
    currency: Currency
    prize: Amount
    tickets: int
    status: Literal["open", "drawn"]
    draws_at: datetime | None
    commitment: str
    server_seed: str | None
    list_hash: str | None
    winners: list[str]


class Raffles(Reply, frozen=True, kw_only=True):
    """All raffles."""

    items: list[Raffle]


class ListTournaments(Request, frozen=True, kw_only=True):
    """Which tournaments there are, with names in a language."""

    locale: LocaleTag = "en"


class Tournament(Struct, frozen=True, kw_only=True):
    """A tournament: score = stakes within [starts_at, ends_at); prizes by place."""

    tournament_id: str
    name: str
    currency: Currency
    prizes: list[Amount]
    starts_at: datetime
    ends_at: datetime
    status: Literal["running", "closed"]


class Tournaments(Reply, frozen=True, kw_only=True):
    """All tournaments."""

    items: list[Tournament]


class LeaderboardOf(Request, frozen=True, kw_only=True):
    """The best of one tournament."""

    tournament_id: ShortText
    limit: Limit = 20


class Place(Struct, frozen=True, kw_only=True):
    """One line of a leaderboard; ties stand in the order in which the score was reached.

    In a raffle the score is the number of tickets; `prize` is what the place won, in minor units.
    """

    place: int
    user_id: Id
    score: AmountOrZero
    prize: AmountOrZero = 0


class Leaderboard(Reply, frozen=True, kw_only=True):
    """The best, in order."""

    tournament_id: str
    items: list[Place]


class DrawRaffle(Request, frozen=True, kw_only=True):
    """An operator draws a raffle now."""

    raffle_id: ShortText
    actor_id: Id | None = None


class CloseTournament(Request, frozen=True, kw_only=True):
    """An operator closes a tournament now and its prizes are paid."""

    tournament_id: ShortText
    actor_id: Id | None = None


class Drawn(Reply, frozen=True, kw_only=True):
    """The prizes that were awarded."""

    winners: list[Place]


class PrizeAwarded(EventData, frozen=True, kw_only=True):
    """A player won: the wallet credits `amount` under `transfer_id`."""

    award_id: Id
    user_id: Id
    kind: PrizeKind
    source_id: str
    amount: Amount
    currency: Currency
    transfer_id: Id


class RaffleTicketsIssued(EventData, frozen=True, kw_only=True):
    """A deposit earned raffle tickets."""

    raffle_id: str
    user_id: Id
    tickets: int
    payment_id: Id


class RaffleDrawn(EventData, frozen=True, kw_only=True):
    """A raffle was drawn; anybody with the tickets can check it with the revealed seed."""

    raffle_id: str
    tickets: int
    list_hash: str
    server_seed: str
    winners: list[str]


class TournamentClosed(EventData, frozen=True, kw_only=True):
    """A tournament ended and its places stand."""

    tournament_id: str
    players: int


PRIZE_AWARDED = Event("PrizeAwardedEvent", "gaming", PrizeAwarded, "A player won a prize.")
RAFFLE_TICKETS_ISSUED = Event(
    "RaffleTicketsIssuedEvent", "gaming", RaffleTicketsIssued, "A deposit earned tickets."
)
RAFFLE_DRAWN = Event("RaffleDrawnEvent", "gaming", RaffleDrawn, "A raffle was drawn.")
TOURNAMENT_CLOSED = Event(
    "TournamentClosedEvent", "gaming", TournamentClosed, "A tournament ended."
)

LIST_JACKPOTS = Call(
    "rpc.gaming.v1.list_jackpots", ListJackpots, Jackpots, "List the jackpots.", idempotent=True,
    route=Route(method="GET", path="/v1/gaming/jackpots", role="public", tag="gaming"),
)  # fmt: skip
LIST_RAFFLES = Call(
    "rpc.gaming.v1.list_raffles", ListRaffles, Raffles, "List the raffles.", idempotent=True,
    route=Route(method="GET", path="/v1/gaming/raffles", role="public", tag="gaming"),
)  # fmt: skip
LIST_TOURNAMENTS = Call(
    "rpc.gaming.v1.list_tournaments", ListTournaments, Tournaments, "List the tournaments.",
    idempotent=True,
    route=Route(method="GET", path="/v1/gaming/tournaments", role="public", tag="gaming"),
)  # fmt: skip
LEADERBOARD = Call(
    "rpc.gaming.v1.leaderboard", LeaderboardOf, Leaderboard, "Read a leaderboard.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="GET", path="/v1/gaming/tournaments/{tournament_id}/leaderboard", role="public",
        tag="gaming",
    ),
)  # fmt: skip
DRAW_RAFFLE = Call(
    "rpc.gaming.v1.draw_raffle", DrawRaffle, Drawn, "Draw a raffle now.",
    refuses=(NotFound, Conflict, Forbidden),
    route=Route(
        method="POST", path="/v1/admin/gaming/raffles/{raffle_id}/draw", role="operator",
        tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip
CLOSE_TOURNAMENT = Call(
    "rpc.gaming.v1.close_tournament", CloseTournament, Drawn, "Close a tournament now.",
    refuses=(NotFound, Conflict, Forbidden),
    route=Route(
        method="POST", path="/v1/admin/gaming/tournaments/{tournament_id}/close",
        role="operator", tag="admin", from_token=("actor_id",),
    ),
)  # fmt: skip

JACKPOT_TICKS = Live(
    "jackpots", Jackpots, "/ws/jackpots", cast("Call[Struct, Struct]", LIST_JACKPOTS),
    purpose="All jackpots whenever one of them grows or is won.",
)  # fmt: skip

GAMING = Contract(
    name="gaming",
    version="1.0.0",
    purpose="Jackpots, raffles and tournaments.",
    answers=(
        LIST_JACKPOTS, LIST_RAFFLES, LIST_TOURNAMENTS, LEADERBOARD, DRAW_RAFFLE, CLOSE_TOURNAMENT,
    ),
    publishes=(PRIZE_AWARDED, RAFFLE_TICKETS_ISSUED, RAFFLE_DRAWN, TOURNAMENT_CLOSED),
    pushes=(JACKPOT_TICKS,),
)  # fmt: skip
