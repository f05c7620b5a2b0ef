"""The hearing side: durable pull consumers, an inbox, back-off, and a parking place for the rest.

Consumers are created by deployment, not by services. A service pulls only as many events as it has
free slots, works on events of one aggregate in order, and acknowledges after its commit. What
cannot be worked on is parked in the dead-letter stream with its cause; nothing is lost silently.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from svc.mesh import letters, metrics, rebuild
from svc.mesh.clock import new_id
from svc.mesh.context import Context
from svc.mesh.contract import Lane
from svc.mesh.database import Tx
from svc.mesh.desk import Desk
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Invalid, Refused, TimedOut, Unavailable
from svc.mesh.wire import decoder

if TYPE_CHECKING:
    from svc.mesh.runtime import Runtime
    from svc.mesh.service import Hear

SLOTS = {Lane.HIGH: 32, Lane.MEDIUM: 16, Lane.LOW: 8}
"""How many events of a stream one instance works on at once, by lane."""
ATTEMPTS_MAX = 6
"""After so many failed attempts an event is parked; an unavailable dependency does not count."""
BACKOFF_S = (0.1, 0.5, 2.0, 5.0, 15.0, 30.0)
PULL_EXPIRES_S = 30
AT_WORK_S = 3.0
"""How often the server is told of events still in work; well below the consumers' ack_wait."""


class Consumer:
    """Works on what one service hears from one stream."""

    def __init__(self, runtime: "Runtime", stream: str, hears: "list[Hear[Any]]") -> None:
        """Prepare; `start` begins to pull."""
        self.runtime = runtime
        self.stream = stream
        self.durable = runtime.service.name
        self.hears = {hear.event.type: hear for hear in hears}
        self.slots = SLOTS[runtime.service.lane_of(hears[0].event)]
        self.tasks: dict[asyncio.Task[None], Msg] = {}
        self.tails: dict[str, asyncio.Task[None]] = {}
        self.asked = 0
        self.asked_until = 0.0
        self.wake = asyncio.Event()
        self.inbox = f"_INBOX.{self.durable}.{runtime.instance}.pull.{stream}"
        self.subscription: Subscription | None = None
        self.puller: asyncio.Task[None] | None = None
        self.reporter: asyncio.Task[None] | None = None
        self.desk: Desk | None = None

    async def start(self) -> None:
        """Subscribe the delivery inbox and begin to pull."""
        self.subscription = await self.runtime.connection.subscribe(self.inbox, cb=self._delivered)
        self.puller = asyncio.create_task(self._pull())
        self.reporter = asyncio.create_task(self._report())
        if not self.runtime.consumers:
            # One desk for all consumers of the service; it goes with the first.
            self.desk = Desk(self.runtime)
            await self.desk.start()

    async def drain(self, grace_s: float) -> None:
        """Stop pulling and finish what is being worked on, for at most `grace_s` seconds."""
        if self.desk is not None:
            await self.desk.drain()
        if self.puller is not None:
            self.puller.cancel()
            await asyncio.gather(self.puller, return_exceptions=True)
        if self.subscription is not None:
            # What is on its way here is worked on: else it would come again only after ack_wait.
            await self.subscription.drain()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self.reporter is not None:
            self.reporter.cancel()
            await asyncio.gather(self.reporter, return_exceptions=True)

    async def _pull(self) -> None:
        """Keep exactly as many events asked for as there are free slots."""
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.durable}"
        while True:
            now = time.monotonic()
            if self.asked_until <= now:
                self.asked = 0
            free = self.slots - len(self.tasks) - self.asked
            if free > 0 and (self.asked == 0 or free >= self.slots // 2):
                request = {"batch": free, "expires": int(PULL_EXPIRES_S * 1e9)}
                try:
                    await self.runtime.connection.publish(
                        subject, msgspec.json.encode(request), reply=self.inbox
                    )
                    self.asked += free
                    self.asked_until = now + PULL_EXPIRES_S
                except NatsError as failure:
                    self.runtime.log.warning("pull failed", stream=self.stream, cause=str(failure))
            self.wake.clear()
            try:
                async with asyncio.timeout(max(self.asked_until - time.monotonic(), 0.5)):
                    await self.wake.wait()
            except TimeoutError:
                continue

    async def _report(self) -> None:
        """Tell the server of events that take long, so that it gives them to nobody else."""
        before: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(AT_WORK_S)
            for message in [self.tasks[task] for task in before & self.tasks.keys()]:
                try:
                    await message.in_progress()
                except NatsError as failure:
                    self.runtime.log.warning("not reported as at work", cause=str(failure))
            before = set(self.tasks)

    def lost_connection(self) -> None:
        """Forget what was asked for: the server forgot it too. Called after a reconnect."""
        self.asked = 0
        self.wake.set()

    async def _delivered(self, message: Msg) -> None:
        if not message.reply.startswith("$JS.ACK."):
            self._told(message)
            return
        self.asked = max(self.asked - 1, 0)
        key = self._key(message)
        task = asyncio.create_task(self._in_order(message, self.tails.get(key)))
        self.tails[key] = task
        self.tasks[task] = message
        task.add_done_callback(lambda done: self._finished(key, done))

    def _told(self, message: Msg) -> None:
        """React to a status of the server: a pull that ended, or a consumer that is not there."""
        status = (message.headers or {}).get("Status", "")
        if status in {"404", "408", "409", "503"}:
            self.asked = 0
            if status == "503":
                self.runtime.log.warning("no such consumer", stream=self.stream, name=self.durable)
                self.asked, self.asked_until = self.slots, time.monotonic() + 0.5
            self.wake.set()

    def _key(self, message: Msg) -> str:
        try:
            return decoder(Aggregate).decode(message.data).subject
        except msgspec.DecodeError:
            return ""

    def _finished(self, key: str, task: asyncio.Task[None]) -> None:
        del self.tasks[task]
        if self.tails.get(key) is task:
            del self.tails[key]
        self.wake.set()

    async def _in_order(self, message: Msg, previous: asyncio.Task[None] | None) -> None:
        if previous is not None:
            await asyncio.wait([previous])
        metadata = message.metadata
        attempts = metadata.num_delivered
        try:
            outcome = await self._work(message)
        except (Unavailable, TimeoutError, NatsError) as failure:
            await self._later(message, attempts, failure)
            outcome = "unavailable"
        except Refused as failure:
            await self._park(message, attempts, failure)
            outcome = "parked"
        except Exception as failure:
            self.runtime.log.exception(
                "event handler failed", subject=message.subject, attempt=attempts
            )
            if attempts >= ATTEMPTS_MAX:
                await self._park(message, attempts, failure)
                outcome = "parked"
            else:
                await self._later(message, attempts, failure)
                outcome = "failed"
        metrics.CONSUMED.labels(self.durable, message.subject, outcome).inc()

    async def _work(self, message: Msg) -> str:
        """Bring one delivered event to its effect; returns the outcome for the metrics."""
        outcome = await self.bring(message.data, message.metadata.sequence.stream)
        await message.ack()
        return outcome

    async def bring(self, body: bytes, sequence: int) -> str:
        """Bring an event, delivered or replayed, to its effect.

        Returns `ok`, `duplicate` when it had taken effect before, or `ignored`. Raises Invalid for
        what is no such event, else whatever the handler raises.
        """
        try:
            envelope = decoder(CloudEvent[msgspec.Raw]).decode(body)
        except msgspec.DecodeError as failure:
            raise Invalid(f"not a CloudEvent: {failure}") from failure
        hear = self.hears.get(envelope.type)
        if hear is None:
            return "ignored"
        try:
            event = decoder(CloudEvent[hear.event.data]).decode(body)
        except msgspec.DecodeError as failure:
            raise Invalid(f"not a {envelope.type}: {failure}") from failure
        if hear.only is not None and not hear.only(event.data):
            return "ignored"
        context = Context(
            self.runtime,
            caller=event.publisher,
            correlation_id=event.correlationid,
            causation_id=event.id,
            traceparent=event.traceparent,
        )
        outcome = await self._effect(event, context, sequence)
        if outcome == "ok":
            delay = (context.now() - event.time).total_seconds()
            metrics.CONSUME_SECONDS.labels(self.durable, event.type).observe(max(delay, 0))
        return outcome

    async def _effect(self, event: CloudEvent[Any], context: Context, sequence: int) -> str:
        service = self.runtime.service
        observer = service.observers.get(event.type)
        if observer is not None:
            await observer(event, context)
            return "ok"
        async with context.transaction() as tx:
            fresh = await tx.fetchval(
                "INSERT INTO mesh_inbox (event_id, type, publisher) VALUES ($1, $2, $3)"
                " ON CONFLICT (event_id) DO NOTHING RETURNING true",
                event.id,
                event.type,
                event.publisher,
            )
            if not fresh:
                return "duplicate"
            if rebuild.can_be_rebuilt(service.name):
                again = await rebuild.range_of(tx, self.stream, sequence)
                if again is not None:
                    return await self._tell_again(event, tx, context, again)
            await service.event_handlers[event.type](event, tx, context)
        return "ok"

    async def _tell_again(
        self, event: CloudEvent[Any], tx: Tx, context: Context, again: rebuild.Range
    ) -> str:
        """Bring an event to its effect for a rebuild, without any effect outside."""
        if event.time < again.since:
            return "ignored"  # what was derived from it was not forgotten
        quiet = rebuild.silent(context)
        handler = self.runtime.service.event_handlers[event.type]
        await handler(event, rebuild.SilentTx(tx.connection, quiet), quiet)
        return "told again"

    async def _later(self, message: Msg, attempts: int, failure: BaseException) -> None:
        delay = BACKOFF_S[min(attempts, len(BACKOFF_S)) - 1]
        self.runtime.log.info(
            "event comes again",
            subject=message.subject,
            attempt=attempts,
            delay_s=delay,
            cause=f"{type(failure).__name__}: {failure}",
        )
        try:
            await message.nak(delay=delay)
        except NatsError as lost:
            # Without the nak the server delivers it again after ack_wait: later, but not lost.
            self.runtime.log.warning("nak not sent", cause=str(lost))

    async def _park(self, message: Msg, attempts: int, failure: BaseException) -> None:
        """Move an event to the dead-letter stream; only then is it done here."""
        sequence = message.metadata.sequence.stream
        headers = letters.parked_headers(
            self.durable,
            self.stream,
            sequence,
            subject=message.subject,
            attempts=attempts,
            failure=failure,
        )
        name = letters.letter_id(self.durable, self.stream, sequence)
        try:
            await self.runtime.publish_now(
                f"{letters.ROOT}.{name}", message.data, new_id(), headers
            )
        except (NatsError, TimedOut, Unavailable, TimeoutError) as lost:
            self.runtime.log.warning("could not park an event", cause=str(lost))
            await self._later(message, attempts, lost)
            return
        await message.term()
        self.runtime.log.error(
            "event parked",
            subject=message.subject,
            sequence=sequence,
            cause=f"{type(failure).__name__}: {failure}",
        )


class Aggregate(msgspec.Struct):
    """The part of an envelope that decides the order."""

    subject: str = ""
