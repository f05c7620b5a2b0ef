"""The rules of jackpots, raffles and tournaments: exact sums, fair draws, places and prizes.

Amounts are minor units; names ending in `_e4` count 1/10000 of a minor unit, so that one percent
of any stake is exact.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

E4 = 10_000
CURRENCIES = ("EUR", "USD", "BRL")
"""The currencies that have games from the start; others get theirs at their first use."""

JACKPOT_SEED = 10_000
JACKPOT_CAP = 100_000
CONTRIBUTION_E4 = 100
"""1 % of a stake: a minor unit staked adds 100/10000 of one."""
MAIN_PERCENT = 80
"""This much of a contribution grows the pot, the rest is kept for the next pot's seed."""

TICKET_PRICE = 1_000
"""One ticket for each 10.00 of a deposit."""
TICKETS_MAX = 1_000
"""At most so many tickets for one deposit."""
RAFFLE_PRIZE = 5_000
RAFFLE_WINNERS = 3

TOURNAMENT_POOL = 100_000
TOURNAMENT_SHARES = (50, 30, 20)
GRACE = timedelta(seconds=60)
"""How long after its end a tournament waits for stakes placed before it."""
LATEST_MS = 9_999_999_999_999


@dataclass(frozen=True)
class Pot:
    """A jackpot as its rules see it."""

    seed: int
    cap: int
    main_e4: int
    reserve_e4: int
    contributed_e4: int
    topped_up_e4: int
    paid: int
    target: int

    @property
    def value_e4(self) -> int:
        """Return what the pot is worth."""
        return self.seed * E4 + self.main_e4

    @property
    def value(self) -> int:
        """Return what the pot would pay: whole minor units, rounded down."""
        return self.value_e4 // E4


def contribute(pot: Pot, stake: int) -> Pot:
    """Add a stake's contribution, split between the pot and the reserve without loss."""
    contribution = stake * CONTRIBUTION_E4
    main = contribution * MAIN_PERCENT // 100
    return replace(
        pot,
        main_e4=pot.main_e4 + main,
        reserve_e4=pot.reserve_e4 + contribution - main,
        contributed_e4=pot.contributed_e4 + contribution,
    )


def drops(pot: Pot) -> bool:
    """Return whether the pot has reached its secret target: the bet that lifted it there wins."""
    return pot.value_e4 >= pot.target * E4


def pay_out(pot: Pot, next_target: int) -> tuple[int, Pot]:
    """Pay the pot and begin the next: return the prize, at most the cap, and the new pot.

    What is left over carries on; the new seed comes from the reserve, the house adds what is
    missing (meters as in NJ 13:69E-1.39A).
    """
    prize = min(pot.value, pot.cap)
    seed_e4 = pot.seed * E4
    from_reserve = min(pot.reserve_e4, seed_e4)
    following = replace(
        pot,
        main_e4=pot.value_e4 - prize * E4,
        reserve_e4=pot.reserve_e4 - from_reserve,
        topped_up_e4=pot.topped_up_e4 + seed_e4 - from_reserve,
        paid=pot.paid + prize,
        target=next_target,
    )
    return prize, following


def draw_target(seed: int, cap: int, below: Callable[[int], int]) -> int:
    """Draw the value at which a pot must drop, each in [seed, cap] equally likely."""
    return seed + below(cap - seed + 1)


def target_commitment(target: int, salt: str) -> str:
    """Return what is published while the target is secret: SHA-256 of "target|salt", in hex."""
    return hashlib.sha256(f"{target}|{salt}".encode()).hexdigest()


def seed_commitment(server_seed: str) -> str:
    """Return what is published while a raffle is open: SHA-256 of the seed's text, in hex."""
    return hashlib.sha256(server_seed.encode()).hexdigest()


def tickets_for(amount: int, refunded: int) -> int:
    """Return how many tickets a deposit is worth after what was given back of it."""
    return min(max(amount - refunded, 0) // TICKET_PRICE, TICKETS_MAX)


def ticket_id(number: int) -> str:
    """Return a ticket's name; names sort as numbers do."""
    return f"T{number:09d}"


def list_hash(tickets: Sequence[str]) -> str:
    """Return SHA-256, in hex, of the tickets' names in order, one a line."""
    return hashlib.sha256("\n".join(tickets).encode()).hexdigest()


def draw_winners(
    raffle_id: str, tickets: Sequence[str], server_seed: str, wanted: int
) -> list[str]:
    """Draw winning tickets one after the other; a drawn ticket leaves the list.

    Winner i is HMAC-SHA256(seed, "raffle:list hash:i:attempt"), its first eight bytes, big-endian,
    modulo the tickets left; numbers at or above their largest multiple are thrown away.
    """
    left = list(tickets)
    name = f"{raffle_id}:{list_hash(tickets)}"
    winners: list[str] = []
    while left and len(winners) < wanted:
        limit = 2**64 // len(left) * len(left)
        attempt, number = 0, limit
        while number >= limit:
            message = f"{name}:{len(winners)}:{attempt}"
            drawn = hmac.new(server_seed.encode(), message.encode(), hashlib.sha256).digest()
            number = int.from_bytes(drawn[:8], "big")
            attempt += 1
        winners.append(left.pop(number % len(left)))
    return winners


def shares(pool: int, weights: Sequence[int]) -> list[int]:
    """Split a pool by weights into whole minor units by largest remainder: the sum is the pool.

    Equal remainders go to the better place.
    """
    total = sum(weights)
    parts = [pool * weight // total for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda place: (-(pool * weights[place] % total), place)
    )
    for place in by_remainder[: pool - sum(parts)]:
        parts[place] += 1
    return parts


def week_of(now: datetime) -> tuple[datetime, datetime]:
    """Return the week around an instant: Monday 00:00 UTC to the next."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=midnight.weekday())
    return monday, monday + timedelta(days=7)


def week_id(kind: str, currency: str, now: datetime) -> str:
    """Return the name of a week's raffle or tournament in a currency."""
    year, week, _ = now.isocalendar()
    return f"{kind}-{currency.lower()}-{year}-w{week:02d}"


def game_id(week: str, earlier: int) -> str:
    """Return a name of its own for one of a week; `earlier` counts those before it."""
    return f"{week}-{earlier + 1}" if earlier else week


def leaderboard_member(user_id: str, reached_at: datetime) -> str:
    """Return a player's name in a sorted set that is read from the highest.

    Among equal scores the set orders by name, so the one that was reached first comes first.
    """
    milliseconds = int(reached_at.timestamp() * 1000)
    return f"{LATEST_MS - milliseconds:013d}:{user_id}"


def member_user(member: str) -> str:
    """Return the player of a sorted set's member."""
    return member.partition(":")[2]
