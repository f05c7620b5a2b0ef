"""The games of the casino: provably fair numbers, what a round pays, and exact returns.

Every number of a round follows from the server seed (committed to before the session), the client
seed and the round's nonce, so a player can compute the round again once the seed is revealed.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from svc.mesh.errors import Invalid

DICE = "dice"
SLOTS = "slots"
FREE_SPIN = "free_spin"

STAKE_MIN = 10
"""In minor units; payouts are rounded down, so tiny stakes would play at worse odds."""
STAKE_MAX = 100_000
STAKE_MAX_AFTER_REFUND = 10_000
"""The highest stake, in minor units, within REFUND_CAUTION of a refunded deposit."""
REFUND_CAUTION = timedelta(hours=24)
DICE_FACES = 10_000
DICE_RETURN_1E4_PERCENT = 990_000
"""99 % in 1/10000 of a percent: the house keeps 1 %."""

STRIP = (
    "cherry", "lemon", "orange", "lemon", "bell", "orange", "lemon", "diamond", "cherry", "orange",
    "lemon", "bell", "orange", "lemon", "seven", "orange", "cherry", "lemon", "bell", "diamond",
)  # fmt: skip
"""The symbols of each of the three reels; every stop is equally likely."""
THREE_OF_A_KIND = {
    "cherry": 15, "lemon": 6, "orange": 12, "bell": 40, "diamond": 100, "seven": 750,
}  # fmt: skip
TWO_CHERRIES = 5
ONE_CHERRY = 1


class DiceChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """Bet that the roll is below `target` (in percent), or with `over` at or above it."""

    target: Annotated[int, Meta(ge=2, le=98)]
    over: bool


class SlotsChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """Slots leave nothing to choose."""


class Draws:
    """The endless row of fair numbers that belongs to one round.

    Each attempt is HMAC-SHA256(server seed, "client seed:nonce:cursor") with the cursor counting
    from 0; its first eight bytes, big-endian, are a number of 64 bits.
    """

    def __init__(self, server_seed: str, client_seed: str, nonce: int) -> None:
        """Start the row of a round at cursor 0."""
        self.server_seed = server_seed
        self.client_seed = client_seed
        self.nonce = nonce
        self.cursor = 0

    def below(self, sides: int) -> int:
        """Draw a number in [0, sides), each equally likely.

        Numbers at or above the largest multiple of `sides` are thrown away instead of wrapped
        round, because wrapping would favour small results.
        """
        limit = 2**64 // sides * sides
        while True:
            number = int.from_bytes(
                digest(self.server_seed, self.client_seed, self.nonce, self.cursor)[:8], "big"
            )
            self.cursor += 1
            if number < limit:
                return number % sides


@dataclass(frozen=True)
class Result:
    """What a round came to; the payout is in minor units and includes the stake."""

    outcome: dict[str, Any]
    payout: int


def digest(server_seed: str, client_seed: str, nonce: int, cursor: int) -> bytes:
    """Return the 32 bytes of one attempt; the key is the seed's hex text."""
    message = f"{client_seed}:{nonce}:{cursor}"
    return hmac.new(server_seed.encode(), message.encode(), hashlib.sha256).digest()


def new_seed(random_bytes: Callable[[int], bytes]) -> str:
    """Return a server seed: 32 random bytes in hex."""
    return random_bytes(32).hex()


def commitment(server_seed: str) -> str:
    """Return what is published before play: SHA-256 of the seed's hex text, in hex."""
    return hashlib.sha256(server_seed.encode()).hexdigest()


def dice_multiplier(chance: int) -> int:
    """Return 99 / chance in 1/10000, rounded down; `chance` is in percent."""
    return DICE_RETURN_1E4_PERCENT // chance


def dice(choice: DiceChoice, stake: int, draws: Draws) -> Result:
    """Roll 0 to 9999; payouts are rounded down, so that no stake plays above the stated return."""
    chance = 100 - choice.target if choice.over else choice.target
    multiplier = dice_multiplier(chance)
    roll = draws.below(DICE_FACES)
    win = (roll >= choice.target * 100) == choice.over
    outcome = {
        "roll": roll,
        "target": choice.target,
        "over": choice.over,
        "multiplier": f"{multiplier // 10_000}.{multiplier % 10_000:04d}",
        "win": win,
    }
    return Result(outcome, stake * multiplier // 10_000 if win else 0)


def slots_pay(reels: tuple[str, str, str]) -> int:
    """Return how many stakes three symbols pay."""
    first, second, third = reels
    if first == second == third:
        return THREE_OF_A_KIND[first]
    if first == "cherry":
        return TWO_CHERRIES if second == "cherry" else ONE_CHERRY
    return 0


def slots(_choice: SlotsChoice, stake: int, draws: Draws) -> Result:
    """Stop three reels, one draw each; all pays are whole stakes, so nothing is rounded."""
    stops = [draws.below(len(STRIP)) for _ in range(3)]
    reels = (STRIP[stops[0]], STRIP[stops[1]], STRIP[stops[2]])
    pay = slots_pay(reels)
    outcome = {"stops": stops, "reels": list(reels), "multiplier": str(pay), "win": pay > 0}
    return Result(outcome, stake * pay)


def dice_return(chance: int) -> Fraction:
    """Return the exact part of a stake that dice pays back on average, before rounding to cents."""
    return Fraction(chance, 100) * Fraction(dice_multiplier(chance), 10_000)


def slots_return() -> Fraction:
    """Return the exact part of a stake that slots pay back, by counting all 8,000 stops."""
    total = sum(slots_pay(reels) for reels in itertools.product(STRIP, STRIP, STRIP))
    return Fraction(total, len(STRIP) ** 3)


def as_text(value: Fraction) -> str:
    """Write a return below one with four decimals, rounded down."""
    return f"0.{value.numerator * 10_000 // value.denominator:04d}"


@dataclass(frozen=True)
class GameRules:
    """One game: its limits in minor units, its published paytable and its exact return."""

    game_id: str
    choice: type[DiceChoice | SlotsChoice]
    play: Callable[[Any, int, Draws], Result]
    rtp: str
    paytable: dict[str, Any]
    min_stake: int = STAKE_MIN
    max_stake: int = STAKE_MAX


GAMES: Mapping[str, GameRules] = {
    DICE: GameRules(
        DICE,
        DiceChoice,
        dice,
        as_text(Fraction(99, 100)),
        {
            "roll": "0 to 9999, each equally likely",
            "wins": "under: roll < target x 100; over: roll >= target x 100",
            "multiplier": "99 / chance in percent, rounded down to 4 decimals",
            "rounding": "payouts are rounded down to the minor unit",
            "house_edge": "0.0100",
            "lowest_rtp": as_text(min(dice_return(chance) for chance in range(2, 99))),
        },
    ),
    SLOTS: GameRules(
        SLOTS,
        SlotsChoice,
        slots,
        as_text(slots_return()),
        {
            "strip": list(STRIP),
            "three_of_a_kind": THREE_OF_A_KIND,
            "first_two_cherries": TWO_CHERRIES,
            "first_cherry": ONE_CHERRY,
        },
    ),
}


def read_choice(game: GameRules, choice: dict[str, Any] | None) -> DiceChoice | SlotsChoice:
    """Return a player's choice in the game's own form, without the free-spin mark.

    Raises Invalid with the field that is wrong.
    """
    given = {name: value for name, value in (choice or {}).items() if name != FREE_SPIN}
    try:
        return msgspec.convert(given, game.choice)
    except msgspec.ValidationError as failure:
        raise Invalid(f"choice: {failure}") from failure


def wants_free_spin(choice: dict[str, Any] | None) -> bool:
    """Return whether a round is to be paid with a spin chance; raises Invalid unless true/false."""
    wish: object = (choice or {}).get(FREE_SPIN, False)
    if not isinstance(wish, bool):
        raise Invalid("choice: Expected `bool` - at `$.free_spin`")
    return wish


def play(
    game: GameRules, choice: dict[str, Any] | None, stake: int, seeds: tuple[str, str], nonce: int
) -> Result:
    """Play one round; `seeds` are the server's and the client's. Raises Invalid for the choice."""
    server_seed, client_seed = seeds
    return game.play(read_choice(game, choice), stake, Draws(server_seed, client_seed, nonce))


def highest_stake(game: GameRules, refunded_at: datetime | None, now: datetime) -> int:
    """Return the highest stake, in minor units, that a player may place now.

    A deposit that was just given back may turn into a debt, so for a day stakes stay small.
    """
    if refunded_at is not None and now < refunded_at + REFUND_CAUTION:
        return min(game.max_stake, STAKE_MAX_AFTER_REFUND)
    return game.max_stake


def request_hash(session_id: str, stake: int, currency: str, choice: dict[str, Any] | None) -> str:
    """Return what tells one body of a round request from another, whatever its key order."""
    body = json.dumps([session_id, stake, currency, choice], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()
