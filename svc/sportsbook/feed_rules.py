"""When a producer of the feed is up, and when and from where it may be asked to send again.

Sources: docs.sportradar.com/uof, "Alive", "Error handling: recovery using the API" and
"Restrictions for odds recovery". A producer that never sent an alive is not watched: there is
nothing that its silence could mean.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from svc.sportsbook.uof_messages import Alive

ALIVE_WITHIN = timedelta(seconds=20)
"""An alive comes every 10 s; after 20 s without one, or with a lag of 20 s, a producer is down."""
RECOVERY_PATIENCE = timedelta(seconds=60)
"""A recovery that has not ended after this is asked for again."""
HANDOVER_PATIENCE = timedelta(minutes=10)
"""A market that was handed over and not taken up for this long goes off sale."""


class ProducerFacts(Struct, frozen=True):
    """A producer's name in URLs and how far back it can send again."""

    path: str
    window: timedelta


LONG, SHORT = timedelta(hours=72), timedelta(hours=3)
PRODUCERS: Mapping[int, ProducerFacts] = {
    1: ProducerFacts("liveodds", timedelta(hours=10)),
    3: ProducerFacts("pre", LONG),
    4: ProducerFacts("betpal", LONG),
    5: ProducerFacts("premium_cricket", LONG),
    6: ProducerFacts("vf", SHORT),
    7: ProducerFacts("wns", LONG),
    8: ProducerFacts("vbl", SHORT),
    9: ProducerFacts("vto", SHORT),
    10: ProducerFacts("vdr", SHORT),
    11: ProducerFacts("vhc", SHORT),
    12: ProducerFacts("vti", SHORT),
    14: ProducerFacts("codds", LONG),
    15: ProducerFacts("vbi", SHORT),
    16: ProducerFacts("performance", LONG),
    17: ProducerFacts("vci", SHORT),
}


class Producer(Struct, frozen=True, kw_only=True):
    """A producer as it is known; times in ms are the producer's, `heard_at` is by our clock.

    `processed_ms` is the last alive of a time when nothing was missed: a recovery begins there.
    """

    producer: int
    alive_ms: int
    subscribed: bool
    heard_at: datetime
    up: bool
    processed_ms: int = 0
    recovery_id: int | None = None


class Asked(Struct, frozen=True):
    """A recovery that was asked for; without `after` everything was wanted."""

    asked_at: datetime
    after: datetime | None


def is_up(known: Producer, now: datetime) -> bool:
    """Tell whether a producer's markets may be bet on: nothing missed, and heard of lately."""
    return known.up and now - known.heard_at <= ALIVE_WITHIN


def counts(alive: Alive, known: Producer | None, now: datetime) -> bool:
    """Tell whether an alive says anything of now; late, early and older ones do not."""
    off = abs(now - datetime.fromtimestamp(alive.timestamp / 1000, UTC))
    return off <= ALIVE_WITHIN and (known is None or alive.timestamp >= known.alive_ms)


def after_alive(alive: Alive, known: Producer | None, now: datetime) -> Producer:
    """Return how a producer stands after an alive that counts.

    One that was down, or silent for too long, or says that we are not subscribed, is down until a
    recovery ends. The first alive ever finds nothing that could have been missed.
    """
    was_up = known is None or is_up(known, now)
    up = was_up and alive.subscribed
    before = 0 if known is None else known.processed_ms
    return Producer(
        producer=alive.product,
        alive_ms=alive.timestamp,
        subscribed=alive.subscribed,
        heard_at=now,
        up=up,
        processed_ms=alive.timestamp if up else before,
        # A recovery that began before the subscription was lost would leave out what followed.
        recovery_id=known.recovery_id if known and alive.subscribed else None,
    )


def recovery_start(known: Producer, now: datetime) -> datetime | None:
    """Return from when to ask for messages; None asks for everything that is on offer."""
    if not known.processed_ms:
        return None
    after = datetime.fromtimestamp(known.processed_ms / 1000, UTC)
    facts = PRODUCERS.get(known.producer)
    # A minute less than the window: the request must still be inside when it arrives.
    window = (LONG if facts is None else facts.window) - timedelta(minutes=1)
    return after if now - window <= after <= now else None


class Limit(Struct, frozen=True):
    """How many recoveries may be asked for within a time."""

    count: int
    within: timedelta


RECENT, DAY = timedelta(minutes=30), timedelta(days=1)
LIMITS: Sequence[tuple[timedelta | None, tuple[Limit, ...]]] = (
    (RECENT, (Limit(20, timedelta(minutes=10)), Limit(60, timedelta(hours=1)))),
    (DAY, (Limit(4, timedelta(minutes=10)), Limit(10, timedelta(hours=1)))),
    (None, (Limit(2, timedelta(minutes=30)), Limit(4, timedelta(hours=2)))),
)
"""By how old the wanted messages are: under 30 minutes, under a day, older or everything."""
LIMITS_LOOK_BACK = timedelta(hours=2)
EVENT_LIMITS = (Limit(100, timedelta(minutes=10)), Limit(300, timedelta(hours=1)))
"""Of single events, whatever producer they are asked of."""
EVENT_LIMITS_LOOK_BACK = timedelta(hours=1)
STATEFUL_KEPT = timedelta(days=30)
"""As long as the feed keeps what settled and cancelled on an event."""


def _age_class(asked_at: datetime, after: datetime | None) -> int:
    for number, (youngest, _) in enumerate(LIMITS):
        if youngest is None or (after is not None and asked_at - after < youngest):
            return number
    raise AssertionError("the last class has no bound")


def may_recover(before: Sequence[Asked], now: datetime, after: datetime | None) -> bool:
    """Tell whether the provider's limits leave room for one more recovery of a producer."""
    wanted = _age_class(now, after)
    same = [each.asked_at for each in before if _age_class(each.asked_at, each.after) == wanted]
    return all(
        sum(asked_at > now - limit.within for asked_at in same) < limit.count
        for limit in LIMITS[wanted][1]
    )


def wait_for_event(before: Sequence[datetime], more: int, now: datetime) -> timedelta:
    """Return how long to wait until so many recoveries of single events may be asked for.

    `before` are those of the last hour, in any order; nothing means that they may be asked for now.
    """
    longest = timedelta()
    for limit in EVENT_LIMITS:
        recent = sorted(at for at in before if at > now - limit.within)
        over = len(recent) + more - limit.count
        if more and over > 0:
            longest = max(longest, recent[min(over, len(recent)) - 1] + limit.within - now)
    return longest


def is_kept(starts_at: datetime | None, now: datetime) -> bool:
    """Tell whether the feed still has what settled and cancelled on an event."""
    return starts_at is None or starts_at > now - STATEFUL_KEPT
