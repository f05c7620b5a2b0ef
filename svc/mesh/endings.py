"""How the work on a heard event ends: acknowledged, given back to come again, or parked."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError

from svc.mesh import letters, metrics
from svc.mesh.delivery import Delivery
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Refused, TimedOut, Unavailable

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime

ATTEMPTS_MAX = 6
"""After so many failed attempts an event is parked; an unavailable dependency does not count."""
BACKOFF_S = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)


class Endings:
    """Ends the work on what one service hears from one stream."""

    def __init__(self, runtime: "Runtime", stream: str) -> None:
        """Nothing has ended; `held` is what has not, in the order of arrival."""
        self.runtime = runtime
        self.stream = stream
        self.service = runtime.service.name
        self.held: dict[Delivery, None] = {}
        self.tallies: dict[tuple[str, str], metrics.Tally] = {}
        self.acknowledged = metrics.tally(metrics.ACKNOWLEDGED, self.service, stream)

    def tell(self, delivery: Delivery, what: Callable[[], None]) -> None:
        """Tell the server of an event; without a connection it gives the event out again."""
        try:
            what()
        except NatsError as failure:
            self.runtime.log.warning(
                "the server could not be told", subject=delivery.arrival.subject, cause=str(failure)
            )

    def done(self, delivery: Delivery, outcome: str, event: CloudEvent[Any] | None = None) -> None:
        """Acknowledge an event whose effect is committed, and count it."""
        self.tell(delivery, delivery.done)
        self._ended(delivery, outcome)
        if event is not None and outcome == "ok":
            self.observe(event)

    def observe(self, event: CloudEvent[Any]) -> None:
        """Count an effect, and how long it took from the event until then."""
        delay = (self.runtime.clock.now() - event.time).total_seconds()
        self._tally(event.publisher, event.type).observe("ok", max(delay, 0.0))

    def _tally(self, publisher: str, kind: str) -> metrics.Tally:
        found = self.tallies.get((publisher, kind))
        if found is None:
            found = metrics.tally(metrics.EVENTS, publisher, self.service, kind)
            self.tallies[publisher, kind] = found
        return found

    async def failed(self, delivery: Delivery, failure: Exception) -> None:
        """Let an event come again, or park it."""
        if isinstance(failure, (Unavailable, TimeoutError, NatsError)):
            self._later(delivery, failure)
            outcome = "unavailable"
        elif isinstance(failure, Refused):
            await self._park(delivery, failure)
            outcome = "parked"
        else:
            self.runtime.log.error(
                "event handler failed",
                subject=delivery.arrival.subject,
                attempt=delivery.arrival.attempts,
                exc_info=failure,
            )
            if delivery.arrival.attempts >= ATTEMPTS_MAX:
                await self._park(delivery, failure)
                outcome = "parked"
            else:
                self._later(delivery, failure)
                outcome = "failed"
        self._ended(delivery, outcome)

    def forget(self, delivery: Delivery) -> None:
        """Say no more of an event that has not ended: the server will give it out again."""
        self.held.pop(delivery, None)

    def _ended(self, delivery: Delivery, outcome: str) -> None:
        self.held.pop(delivery, None)
        if outcome != "ok":  # that was counted with its time
            kind = delivery.kind or delivery.arrival.subject
            self._tally(delivery.publisher, kind).count(outcome)
        again = "redelivered" if delivery.arrival.attempts > 1 else "delivered"
        self.acknowledged.observe(again, time.monotonic() - delivery.arrival.since)

    def _later(self, delivery: Delivery, failure: BaseException) -> None:
        delay = BACKOFF_S[min(delivery.arrival.attempts, len(BACKOFF_S)) - 1]
        self.runtime.log.info(
            "event comes again",
            subject=delivery.arrival.subject,
            attempt=delivery.arrival.attempts,
            delay_s=delay,
            cause=f"{type(failure).__name__}: {failure}",
        )
        # Without being told the server delivers it again after ack_wait: later, but not lost.
        self.tell(delivery, lambda: delivery.again(delay))

    async def _park(self, delivery: Delivery, failure: BaseException) -> None:
        """Move an event to the dead-letter stream; only then is it done here."""
        sequence = delivery.sequence
        try:
            await letters.park(
                self.runtime,
                self.service,
                self.stream,
                sequence,
                delivery.data,
                place=delivery.place,
                subject=delivery.arrival.subject,
                attempts=delivery.arrival.attempts,
                failure=failure,
            )
        except (NatsError, TimedOut, Unavailable, TimeoutError) as lost:
            self.runtime.log.warning("could not park an event", cause=str(lost))
            self._later(delivery, lost)
            return
        self.tell(delivery, delivery.parked)
        self.runtime.log.error(
            "event parked",
            subject=delivery.arrival.subject,
            sequence=sequence,
            cause=f"{type(failure).__name__}: {failure}",
        )
