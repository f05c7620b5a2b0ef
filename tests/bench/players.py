"""Who plays in the benchmark, and the money they ask to move: the same for every contender."""

import random
from collections import deque
from typing import NamedTuple

from svc.mesh.clock import new_id

CURRENCY = "EUR"
OPENING = 1_000_000_000
"""What each player begins with, in minor units: nobody runs out of it by playing."""
STAKE = 300
PAYOUT = 700
STAKES_SHARE = 0.7
"""70 % deductions, 30 % credits: with these amounts money neither drifts up nor down."""
BEYOND_ALL = 10**15
"""An amount that nobody has: a deduction of it is refused."""


class Wanted(NamedTuple):
    """One transfer that a player asks for; minor units."""

    transfer_id: str
    user_id: str
    deduct: bool
    amount: int


def player_id(number: int) -> str:
    """Return the id of a player, counted from 0; the bulk loading knows the same."""
    return f"00000000-0000-7000-8000-{number:012x}"


class Crowd:
    """Draws transfers of players uniformly at random, always the same for the same seed."""

    def __init__(self, players: int, refused_share: float = 0.0, seed: int = 1) -> None:
        """One player makes a hot account; `refused_share` of all ask for more than they have."""
        self.players = players
        self.refused_share = refused_share
        self.random = random.Random(seed).random
        self.ready: deque[Wanted] = deque()

    def prepare(self, count: int) -> None:
        """Draw so many transfers now: who asks shares its cores with who answers."""
        self.ready.extend([self._draw() for _ in range(count)])

    def next(self) -> Wanted:
        """Return the next transfer, under an id of its own."""
        return self.ready.popleft() if self.ready else self._draw()

    def _draw(self) -> Wanted:
        user = player_id(int(self.random() * self.players))
        if self.refused_share and self.random() < self.refused_share:
            return Wanted(new_id(), user, deduct=True, amount=BEYOND_ALL)
        deduct = self.random() < STAKES_SHARE
        return Wanted(new_id(), user, deduct, STAKE if deduct else PAYOUT)


class Single:
    """One player who always asks for the same, under ids counted up: for echoes."""

    def __init__(self) -> None:
        """Begin to count."""
        self.count = 0
        self.user = player_id(0)

    def next(self) -> Wanted:
        """Return the next transfer, under an id of its own."""
        self.count += 1
        transfer_id = f"0199b2a4-5e7c-7000-8000-{self.count:012x}"
        return Wanted(transfer_id, self.user, deduct=True, amount=STAKE)
