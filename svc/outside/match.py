"""A scripted football match: the same seed gives the same goals, odds and settlements.

Prices come from two independent Poisson goal counts with a margin on top; Asian lines are settled
as the feed does it: half win = result 1 with void_factor 0.5, half lose = result 0 with 0.5, money
back = void_factor 1 (docs.sportradar.com/uof, bet settlement).
"""

import random
from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from svc.outside.uof import (
    BetSettlement,
    BetStop,
    EventStatus,
    FeedMessage,
    Market,
    OddsChange,
    Outcome,
)

LIVE, PREMATCH = 1, 3
MINUTES, HALF_TIME = 90, 45
GOALS_MAX = 8  # more goals of one team in what is left of a match are not priced
MARGIN = Decimal("1.06")
ODDS_MIN, ODDS_MAX = Decimal("1.01"), Decimal(500)
SURE = Decimal("0.98")  # a market with an outcome likelier than this is taken down
CENT, MILLIONTH = Decimal("0.01"), Decimal("0.000001")

NOT_STARTED, RUNNING, ENDED, CLOSED = 0, 1, 3, 4
FIRST_HALF, SECOND_HALF, BREAK, OVER = 6, 7, 31, 100

# 1 1x2 · 10 double chance · 18 total · 16 handicap, with their outcomes.
LINES: tuple[tuple[int, str | None, tuple[str, ...]], ...] = (
    (1, None, ("1", "2", "3")),
    (10, None, ("9", "10", "11")),
    (18, "total=2.5", ("12", "13")),
    (18, "total=3", ("12", "13")),
    (16, "hcp=-0.25", ("1714", "1715")),
    (16, "hcp=-1", ("1714", "1715")),
)

Phase = Literal["before", "kick_off", "correction", "final_whistle", "settlement"]
Grid = dict[tuple[int, int], Decimal]


class Goal(Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    minute: Annotated[int, Meta(ge=1, lt=MINUTES)]
    team: Literal["home", "away"]


class Plan(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to play: `speed` times faster than life; goals that aren't given come from the seed.

    `product` is the live producer. With `incidents` the match is that of match_incidents. With
    `shuffle` messages go out by the dozen, in any order and some of them twice.
    """

    event_id: Annotated[str, Meta(pattern=r"^[a-z]+:[a-z_]+:[0-9]+$")] = "sr:match:7100001"
    start: datetime | None = None
    speed: Annotated[float, Meta(gt=0)] = 90.0
    seed: int = 1
    home: str = "Rovers"
    away: str = "Wanderers"
    goals: list[Goal] | None = None
    product: Literal[1, 14] = LIVE
    incidents: bool = False
    shuffle: bool = False
    pause_before: list[Literal["kick_off", "correction", "final_whistle", "settlement"]] = []


class Step(Struct, kw_only=True, frozen=True):
    """One message and when it goes out: minutes since kick-off, at or below 0 before it.

    `mark` is a name for this message's time, `window` the names of the times between which bets
    are cancelled. With `outage` the live producer falls silent, or is heard again.
    """

    minute: int
    phase: Phase
    message: FeedMessage
    score: tuple[int, int] = (0, 0)
    mark: str = ""
    window: tuple[str, str] | None = None
    outage: Literal["begins", "ends"] | None = None


def units(market_id: int, specifiers: str | None, outcome: str, score: tuple[int, int]) -> Decimal:
    """Return how much of the stake wins at a final score: 1, 0.5, 0 (money back), -0.5 or -1."""
    home, away = score
    sign = (home > away) - (home < away)
    if market_id in {1, 10}:
        winning = {"1": {1}, "2": {0}, "3": {-1}, "9": {1, 0}, "10": {1, -1}, "11": {0, -1}}
        return Decimal(1 if sign in winning[outcome] else -1)
    line = Decimal((specifiers or "").partition("=")[2])
    ahead = home + away - line if market_id == 18 else home - away + line  # noqa: PLR2004 - total
    if outcome in {"13", "1715"}:
        ahead = -ahead
    # A quarter line is two bets of half the stake on the two lines beside it.
    halves = (ahead,) if ahead * 4 % 2 == 0 else (ahead - Decimal("0.25"), ahead + Decimal("0.25"))
    return Decimal(sum((half > 0) - (half < 0) for half in halves)) / len(halves)


def settled(score: tuple[int, int]) -> list[Market]:
    """Return every line's results at the final score."""
    return [
        Market(
            id=market_id,
            specifiers=specifiers,
            outcomes=[_result(each, units(market_id, specifiers, each, score)) for each in names],
        )
        for market_id, specifiers, names in LINES
    ]


def _result(outcome: str, won: Decimal) -> Outcome:
    factor = None if abs(won) == 1 else 1 - abs(won)
    return Outcome(id=outcome, result=1 if won > 0 else 0, void_factor=factor)


def _goal_counts(expected: Decimal) -> list[Decimal]:
    chances = [(-expected).exp()]
    for goals in range(1, GOALS_MAX + 1):
        chances.append(chances[-1] * expected / goals)
    return [chance / sum(chances) for chance in chances]


def _final_scores(score: tuple[int, int], strengths: tuple[int, int], minute: int) -> Grid:
    """Return the chance of each final score; strengths are goals in 100 matches' 90 minutes."""
    left = Decimal(MINUTES - minute) / MINUTES / 100
    home, away = (_goal_counts(strength * left) for strength in strengths)
    return {
        (score[0] + h, score[1] + a): home[h] * away[a]
        for h in range(GOALS_MAX + 1)
        for a in range(GOALS_MAX + 1)
    }


def _priced(line: tuple[int, str | None, tuple[str, ...]], grid: Grid) -> Market:
    market_id, specifiers, names = line
    outcomes: list[Outcome] = []
    for name in names:
        chance = {Decimal(n) / 2: Decimal(0) for n in range(-2, 3)}
        for score, likely in grid.items():
            chance[units(market_id, specifiers, name, score)] += likely
        lose, half_lose, refund, half_win, win = (
            each.quantize(MILLIONTH) for each in chance.values()
        )
        outcome = Outcome(id=name, probabilities=win + half_win, active=1)
        # The fair odds give the stake back on average; the margin comes off them.
        wins = win + half_win / 2
        if wins > 0:
            fair = (1 - refund - half_win / 2 - half_lose / 2) / wins
            odds = (fair / MARGIN).quantize(CENT, ROUND_DOWN)
            outcome.odds = min(max(odds, ODDS_MIN), ODDS_MAX)
        if specifiers is not None:
            outcome.win_probabilities, outcome.half_win_probabilities = win, half_win
            outcome.refund_probabilities, outcome.half_lose_probabilities = refund, half_lose
            outcome.lose_probabilities = lose
        outcomes.append(outcome)
    open_ = all(each.odds is not None and (each.probabilities or 0) < SURE for each in outcomes)
    if not open_:
        outcomes = [Outcome(id=name, active=0) for name in names]
    return Market(
        id=market_id,
        specifiers=specifiers,
        status=1 if open_ else 0,
        cashout_status=1 if open_ else -1,
        outcomes=outcomes,
    )


class Match:
    """The state of play while the script is written."""

    def __init__(self, plan: Plan) -> None:
        draw = random.Random(plan.seed)  # noqa: S311 - a script, not a secret
        self.event_id = plan.event_id
        self.live = plan.product
        self.strengths = draw.randrange(110, 200), draw.randrange(80, 160)
        self.score: tuple[int, int] = (0, 0)
        self.goals = plan.goals
        if self.goals is None:
            sides: tuple[Literal["home", "away"], ...] = ("home", "away")
            self.goals = [
                Goal(minute=minute, team=side)
                for minute in range(1, MINUTES)
                for side, strength in zip(sides, self.strengths, strict=True)
                if draw.randrange(MINUTES * 100) < strength
            ]

    def odds(self, minute: int, product: int, status: EventStatus) -> OddsChange:
        """Return all lines with their prices at this minute."""
        status.home_score, status.away_score = self.score
        if product == self.live:
            status.match_time = f"{minute}:00"
        grid = _final_scores(self.score, self.strengths, minute)
        markets = [_priced(line, grid) for line in LINES]
        return OddsChange(event_id=self.event_id, product=product, status=status, markets=markets)

    def closed(
        self, product: int, market_status: Literal[-1, -2, -3], status: EventStatus
    ) -> OddsChange:
        """Return all lines with one status and without outcomes."""
        status.home_score, status.away_score = self.score
        markets = [
            Market(id=market_id, specifiers=specifiers, status=market_status)
            for market_id, specifiers, _ in LINES
        ]
        return OddsChange(event_id=self.event_id, product=product, status=status, markets=markets)


def running(minute: int) -> EventStatus:
    half = FIRST_HALF if minute < HALF_TIME else BREAK if minute == HALF_TIME else SECOND_HALF
    return EventStatus(status=RUNNING, reporting=1, match_status=half)


def start(match: Match, minutes: tuple[int, ...] = ()) -> Iterator[Step]:
    """Price the match before it begins, and hand it over to the live producer."""
    waiting = EventStatus(status=NOT_STARTED, match_status=0)
    for minute in (*minutes, 0):
        yield Step(minute=minute, phase="before", message=match.odds(0, PREMATCH, waiting))
    handed_over = match.closed(PREMATCH, -2, running(0))
    yield Step(minute=0, phase="kick_off", message=handed_over)


def script(plan: Plan) -> Iterator[Step]:
    """Write the match after its fixture: odds, kick-off, goals, final whistle and settlement."""
    match, event_id = Match(plan), plan.event_id
    yield from start(match)
    yield Step(minute=0, phase="kick_off", message=match.odds(0, match.live, running(0)))
    goals = sorted(match.goals or [], key=lambda goal: goal.minute)
    for minute in range(1, MINUTES):
        scored = [goal for goal in goals if goal.minute == minute]
        for goal in scored:
            stop = BetStop(event_id=event_id, product=match.live)
            yield Step(minute=minute, phase="kick_off", message=stop, score=match.score)
            home, away = match.score
            match.score = (home + 1, away) if goal.team == "home" else (home, away + 1)
            change = match.odds(minute, match.live, running(minute))
            yield Step(minute=minute, phase="kick_off", message=change, score=match.score)
        if not scored and minute % 5 == 0:
            change = match.odds(minute, match.live, running(minute))
            yield Step(minute=minute, phase="kick_off", message=change, score=match.score)
    yield from ending(match)


def ending(match: Match) -> Iterator[Step]:
    """Stop, end, settle provisionally and then for good, and close."""
    ended = EventStatus(status=ENDED, match_status=OVER)
    over = EventStatus(status=CLOSED, match_status=OVER)
    event, live, results = match.event_id, match.live, settled(match.score)
    first = BetSettlement(event_id=event, product=live, certainty=1, markets=results)
    again = BetSettlement(event_id=event, product=live, certainty=2, markets=results)
    messages: tuple[tuple[Phase, FeedMessage], ...] = (
        ("final_whistle", BetStop(event_id=event, product=live)),
        ("final_whistle", match.closed(match.live, -1, ended)),
        ("settlement", first),
        ("settlement", again),
        ("settlement", match.closed(match.live, -3, over)),
    )
    for phase, message in messages:
        yield Step(minute=MINUTES, phase=phase, message=message, score=match.score)
