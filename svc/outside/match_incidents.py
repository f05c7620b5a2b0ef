"""A match in which everything goes wrong that can: a goal that was none, an outage, corrections.

The same seed gives the same match. On top of the plain script: the next goal as a market of its
own that is settled live; a goal that is taken back, with the settlement undone and the bets struck
meanwhile cancelled; a cancellation that is itself undone; and an outage of the live producer, in
which goals and settlements are lost until the client asks for them again.
"""

import random
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from svc.outside.match import (
    CENT,
    MARGIN,
    MINUTES,
    ODDS_MAX,
    ODDS_MIN,
    Goal,
    Match,
    Plan,
    Step,
    ending,
    running,
    start,
)
from svc.outside.uof import (
    BetCancel,
    BetSettlement,
    BetStop,
    FeedMessage,
    Market,
    OddsChange,
    Outcome,
    RollbackBetCancel,
    RollbackBetSettlement,
)

NEXT_GOAL = 8
HOME, NONE, AWAY = "6", "7", "8"
EARLIEST, LATEST = 12, 20
CORRECTED_AFTER, FORGIVEN_AFTER = 3, 5
OUTAGE, OUTAGE_GOAL, BACK = 50, 54, 58
WINDOW = ("wrong", "right")
"""Between these two messages bets were struck at the prices of a score that never was."""
Side = Literal["home", "away"]
Told = tuple[FeedMessage, str]
"""A message, and a name for its time if a window needs it."""


class _Incidents:
    """What this match has seen so far, and the messages about it."""

    def __init__(self, plan: Plan) -> None:
        self.match = Match(plan)
        draw = random.Random(f"{plan.seed} incidents")  # noqa: S311 - a script, not a secret
        self.wrong = Goal(
            minute=draw.randrange(EARLIEST, LATEST), team=draw.choice(["home", "away"])
        )
        # The first goal that counts falls while nothing gets through.
        first = Goal(minute=OUTAGE_GOAL, team=draw.choice(["home", "away"]))
        later = [each for each in self.match.goals or [] if each.minute > OUTAGE_GOAL]
        self.goals = [first, *later]
        self.number = 1

    def busy(self) -> range:
        """Return the minutes in which the goal that was none is dealt with."""
        return range(self.wrong.minute, self.wrong.minute + FORGIVEN_AFTER + 1)

    def next_goal(
        self, number: int, outcomes: list[Outcome], status: Literal[1] | None = None
    ) -> Market:
        return Market(
            id=NEXT_GOAL, specifiers=f"goalnr={number}", status=status, outcomes=outcomes
        )  # fmt: skip

    def odds(self, minute: int) -> OddsChange:
        """Return all lines, and who scores next."""
        change = self.match.odds(minute, self.match.live, running(minute))
        change.markets.append(self.next_to_score(minute))
        return change

    def next_to_score(self, minute: int) -> Market:
        """Price who scores next from the strengths and the time left."""
        left = Decimal(MINUTES - minute) / MINUTES / 100
        home, away = (strength * left for strength in self.match.strengths)
        none = (-(home + away)).exp()
        chances = {HOME: (1 - none) * home / (home + away), NONE: none,
                   AWAY: (1 - none) * away / (home + away)}  # fmt: skip
        return self.next_goal(self.number, [_priced(*each) for each in chances.items()], 1)

    def scored(self, side: Side) -> list[FeedMessage]:
        """Return the messages of a goal: stop, who scored it, and settle who did."""
        home, away = self.match.score
        self.match.score = (home + 1, away) if side == "home" else (home, away + 1)
        settled = self.settled(HOME if side == "home" else AWAY)
        self.number += 1
        return [BetStop(event_id=self.match.event_id, product=self.match.live), settled]

    def settled(self, came: str, certainty: Literal[1, 2] = 1) -> BetSettlement:
        outcomes = [
            Outcome(id=each, result=1 if each == came else 0) for each in (HOME, NONE, AWAY)
        ]
        return BetSettlement(
            event_id=self.match.event_id,
            product=self.match.live,
            certainty=certainty,
            markets=[self.next_goal(self.number, outcomes)],
        )

    def taken_back(self, side: Side) -> list[FeedMessage]:
        """Return the messages that undo the last goal."""
        home, away = self.match.score
        self.match.score = (home - 1, away) if side == "home" else (home, away - 1)
        self.number -= 1
        event, live = self.match.event_id, self.match.live
        undone = [self.next_goal(self.number, [])]
        return [
            BetStop(event_id=event, product=live),
            RollbackBetSettlement(event_id=event, product=live, markets=undone),
        ]

    def plain(self, minute: int) -> Iterator[Told]:
        """Yield what a minute brings in which nothing goes wrong."""
        for goal in self.goals:
            if goal.minute == minute:
                yield from ((message, "") for message in self.scored(goal.team))
                yield self.odds(minute), ""
        if minute % 5 == 0:
            yield self.odds(minute), ""

    def mistaken(self, minute: int) -> Iterator[Told]:
        """Yield what becomes of the goal that was none, in its minute and those after it."""
        event, live = self.match.event_id, self.match.live
        since = minute - self.wrong.minute
        if since == 0:
            yield from ((message, "") for message in self.scored(self.wrong.team))
            yield self.odds(minute), "wrong"
        elif since == CORRECTED_AFTER:
            yield from ((message, "") for message in self.taken_back(self.wrong.team))
            yield self.odds(minute), "right"
            # Who bet after the goal that was none did so at prices of another match.
            markets = [Market(id=1), Market(id=10)]
            yield BetCancel(event_id=event, product=live, markets=markets), ""
        elif since == FORGIVEN_AFTER:
            # The double chance had been priced by hand: its bets stand after all.
            stand = [Market(id=10)]
            yield RollbackBetCancel(event_id=event, product=live, markets=stand), ""


def _priced(outcome: str, chance: Decimal) -> Outcome:
    odds = min(max((1 / chance / MARGIN).quantize(CENT, ROUND_DOWN), ODDS_MIN), ODDS_MAX)
    return Outcome(
        id=outcome, odds=odds, probabilities=chance.quantize(Decimal("0.000001")), active=1
    )


def dramatic(plan: Plan) -> Iterator[Step]:
    """Write the match after its fixture."""
    told = _Incidents(plan)
    for step in start(told.match, minutes=(-10, -5)):
        if step.phase == "before" and isinstance(step.message, OddsChange):
            step.message.markets.append(told.next_to_score(0))
        yield step
    yield Step(minute=0, phase="kick_off", message=told.odds(0))
    for minute in range(1, MINUTES):
        yield from _outage(told, minute)
        happens = told.mistaken if minute in told.busy() else told.plain
        for message, mark in happens(minute):
            yield Step(
                minute=minute,
                phase="kick_off" if minute < told.wrong.minute + CORRECTED_AFTER else "correction",
                message=message,
                score=told.match.score,
                mark=mark,
                window=WINDOW if isinstance(message, BetCancel | RollbackBetCancel) else None,
            )
    yield Step(minute=MINUTES, phase="final_whistle", message=told.settled(NONE, 2))
    yield from ending(told.match)


def _outage(told: _Incidents, minute: int) -> Iterator[Step]:
    if minute in {OUTAGE, BACK}:
        yield Step(
            minute=minute,
            phase="correction",
            message=told.odds(minute),
            score=told.match.score,
            outage="begins" if minute == OUTAGE else "ends",
        )
