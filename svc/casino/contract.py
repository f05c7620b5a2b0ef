"""casino: games, sessions and rounds with results that the player can check.

The one module of this service that others may import.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct

from svc.mesh.contract import Call, Contract, Event, Live, Route
from svc.mesh.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Refused
from svc.mesh.types import (
    NO_ZERO,
    Amount,
    AmountOrZero,
    Currency,
    EventData,
    Id,
    IdempotencyKey,
    LocaleTag,
    Reply,
    Request,
)

GameId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$(?!\n)")]
ClientSeed = Annotated[str, Meta(min_length=1, max_length=128, pattern=NO_ZERO)]
SessionStatus = Literal["open", "closed"]


class InsufficientFunds(Refused):
    """The wallet does not hold enough free money."""

    name = "insufficient-funds"
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
    """A payment of the player's is disputed: nothing is played until that is decided."""

    name = "account-blocked"
    status = 403


class LimitExceeded(Refused):
    """The stake is outside the game's limits, or passes a limit of the player's own."""

    name = "limit-exceeded"
    status = 422


class CurrencyMismatch(Refused):
    """The wallet is kept in another currency."""

    name = "currency-mismatch"
    status = 422


class NoSpinsLeft(Refused):
    """There is no spin chance left for this game."""

    name = "no-spins-left"
    status = 422


class SessionClosed(Conflict):
    """The session is closed; its seed is public."""


class ListGames(Request, frozen=True, kw_only=True):
    """Which games there are, with names in a language."""

    locale: LocaleTag = "en"


class Game(Struct, frozen=True, kw_only=True):
    """A game with its limits, paytable and exact theoretical return to player."""

    game_id: str
    name: str
    min_stake: Amount
    max_stake: Amount
    rtp: str
    paytable: dict[str, Any]


class Games(Reply, frozen=True, kw_only=True):
    """All games."""

    items: list[Game]


class OpenSession(Request, frozen=True, kw_only=True):
    """Begin to play: the server commits to its seed, the client may give one of its own."""

    user_id: Id
    game_id: GameId
    client_seed: ClientSeed | None = None


class SessionOpened(Reply, frozen=True, kw_only=True):
    """The session, with SHA-256 of the server seed; `free_spins` are the spin chances known of."""

    session_id: Id
    game_id: str
    server_seed_hash: str
    client_seed: str
    free_spins: int = 0


class PlayRound(Request, frozen=True, kw_only=True):
    """One round: `choice` is the game's (dice: {"target": 50, "over": true}; slots: none).

    With `"free_spin": true` in the choice a spin chance pays for the round: it plays for what the
    chance is worth, in the chance's currency, and nothing is deducted.
    """

    user_id: Id
    session_id: Id
    idempotency_key: IdempotencyKey
    stake: Amount
    currency: Currency
    choice: dict[str, Any] | None = None


class RoundPlayed(Reply, frozen=True, kw_only=True):
    """A round's result; the payout in minor units is credited by event."""

    round_id: Id
    nonce: int
    outcome: dict[str, Any]
    payout: AmountOrZero


class SessionOf(Request, frozen=True, kw_only=True):
    """One of the player's own sessions."""

    user_id: Id
    session_id: Id


class SessionState(Reply, frozen=True, kw_only=True):
    """A session: the server seed is None until it is closed. Also the first live frame."""

    session_id: Id
    game_id: str
    status: SessionStatus
    server_seed_hash: str
    server_seed: str | None
    client_seed: str
    rounds: int
    staked: AmountOrZero
    paid: AmountOrZero
    last_round: RoundPlayed | None = None


class GameTotalsOf(Request, frozen=True, kw_only=True):
    """What each game took and paid."""

    actor_id: Id | None = None


class GameTotal(Struct, frozen=True, kw_only=True):
    """The sums of one game in one currency, in minor units."""

    game_id: str
    currency: Currency
    rounds: int
    staked: AmountOrZero
    paid: AmountOrZero


class GameTotals(Reply, frozen=True, kw_only=True):
    """The sums by game."""

    items: list[GameTotal]


class CasinoSessionStarted(EventData, frozen=True, kw_only=True):
    """A player began to play a game."""

    session_id: Id
    user_id: Id
    game_id: str


class CasinoBetPlaced(EventData, frozen=True, kw_only=True):
    """A round's stake was deducted."""

    round_id: Id
    session_id: Id
    user_id: Id
    game_id: str
    stake: Amount
    currency: Currency
    stake_transfer_id: Id


class CasinoPayoutComplete(EventData, frozen=True, kw_only=True):
    """A round is over: the wallet credits `payout` under `transfer_id`; 0 when it lost.

    A free spin had no stake: it is 0 then, and no transfer stands behind `stake_transfer_id`.
    """

    round_id: Id
    session_id: Id
    user_id: Id
    game_id: str
    stake: AmountOrZero
    payout: AmountOrZero
    currency: Currency
    transfer_id: Id
    stake_transfer_id: Id
    free_spin: bool = False


class CasinoSessionSummary(EventData, frozen=True, kw_only=True):
    """A session was closed: the report of the diagram's casino.events."""

    session_id: Id
    user_id: Id
    game_id: str
    rounds: int
    staked: AmountOrZero
    paid: AmountOrZero
    started_at: datetime


SESSION_STARTED = Event(
    "CasinoSessionStartedEvent", "casino", CasinoSessionStarted, "A session began."
)
CASINO_BET_PLACED = Event("CasinoBetPlacedEvent", "casino", CasinoBetPlaced, "A stake was taken.")
CASINO_PAYOUT_COMPLETE = Event(
    "CasinoPayoutCompleteEvent", "casino", CasinoPayoutComplete, "A round is over."
)
SESSION_SUMMARY = Event(
    "CasinoSessionSummaryEvent", "casino", CasinoSessionSummary, "A session was closed."
)

LIST_GAMES = Call(
    "rpc.casino.v1.list_games", ListGames, Games, "List the games.", idempotent=True,
    route=Route(method="GET", path="/v1/casino/games", role="public", tag="casino"),
)  # fmt: skip
OPEN_SESSION = Call(
    "rpc.casino.v1.open_session", OpenSession, SessionOpened, "Begin to play a game.",
    refuses=(NotFound, SelfExcluded, NotVerified, AccountBlocked),
    route=Route(
        method="POST", path="/v1/casino/sessions", status=201, tag="casino",
        from_token=("user_id",),
    ),
)  # fmt: skip
PLAY_ROUND = Call(
    "rpc.casino.v1.play_round", PlayRound, RoundPlayed, "Play one round.",
    refuses=(
        NotFound, SessionClosed, SelfExcluded, NotVerified, AccountBlocked, InsufficientFunds,
        LimitExceeded, IdempotencyMismatch, CurrencyMismatch, NoSpinsLeft,
    ),
    idempotent=True, deadline_ms=3_000,
    route=Route(
        method="POST", path="/v1/casino/sessions/{session_id}/rounds", status=201, tag="casino",
        from_token=("user_id",), idempotent=True,
    ),
)  # fmt: skip
CLOSE_SESSION = Call(
    "rpc.casino.v1.close_session", SessionOf, SessionState, "End a session and reveal its seed.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="DELETE", path="/v1/casino/sessions/{session_id}", tag="casino",
        from_token=("user_id",),
    ),
)  # fmt: skip
GET_SESSION = Call(
    "rpc.casino.v1.get_session", SessionOf, SessionState, "Read one of one's sessions.",
    refuses=(NotFound,), idempotent=True,
    route=Route(
        method="GET", path="/v1/casino/sessions/{session_id}", tag="casino",
        from_token=("user_id",),
    ),
)  # fmt: skip
GAME_TOTALS = Call(
    "rpc.casino.v1.game_totals", GameTotalsOf, GameTotals, "Sum stakes and payouts by game.",
    refuses=(Forbidden,), idempotent=True,
    route=Route(
        method="GET", path="/v1/admin/casino/totals", role="operator", tag="admin",
        from_token=("actor_id",),
    ),
)  # fmt: skip

RESULTS = Live(
    "casino", SessionState, "/ws/casino/{key}", cast("Call[Struct, Struct]", GET_SESSION),
    "session_id", role="player", purpose="A session's state after each of its rounds.",
)  # fmt: skip

CASINO = Contract(
    name="casino",
    version="1.0.0",
    purpose="Games, sessions and rounds with provably fair results.",
    answers=(LIST_GAMES, OPEN_SESSION, PLAY_ROUND, CLOSE_SESSION, GET_SESSION, GAME_TOTALS),
    publishes=(SESSION_STARTED, CASINO_BET_PLACED, CASINO_PAYOUT_COMPLETE, SESSION_SUMMARY),
    pushes=(RESULTS,),
)
