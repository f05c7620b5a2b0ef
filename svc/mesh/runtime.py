"""One running service instance: connected, answering, hearing, publishing; and its clean end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from nats.errors import Error as NatsError, SlowConsumerError

from svc.mesh import log, metrics, partitions, tls, tracing
from svc.mesh.cache import Cache
from svc.mesh.clock import Clock, SystemClock, new_id
from svc.mesh.connection import Connection, Message
from svc.mesh.consumer import Consumer
from svc.mesh.context import Context
from svc.mesh.database import Database, undeclared
from svc.mesh.discovery import Discovery, survey
from svc.mesh.endpoint import Endpoint, Turn
from svc.mesh.errors import Overloaded, Unavailable
from svc.mesh.ingest import Ingest
from svc.mesh.localizer import Localizer
from svc.mesh.observed import STANDING
from svc.mesh.outbox import Relay
from svc.mesh.parcels import Parcel
from svc.mesh.policy import Policies
from svc.mesh.policy_releases import SHADOW, STABLE, release_of
from svc.mesh.pulling import Pulling
from svc.mesh.service import Service
from svc.mesh.settings import Settings
from svc.mesh.wire import INBOX_ROOT, decoder, error_reply

if TYPE_CHECKING:
    from redis.asyncio import Redis

DRAIN_GRACE_S = 8.0
PUBLISH_WAIT_S = 3.0


class Runtime:
    """Runs one Service: `start` connects and begins, `stop` drains and disconnects."""

    def __init__(
        self, service: Service, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        """Check the declaration; nothing is connected yet. Raises DeclarationError."""
        service.verify()
        self.service = service
        self.settings = settings or Settings()
        self.clock: Clock = clock or SystemClock()
        self.instance = new_id().replace("-", "")
        self.release = release_of(self.settings, service.name)
        self.partitions = partitions.owned(self.settings, service.name)
        self.shadow = self.release == SHADOW
        self.log = log.logger(service.name, self.instance[-8:])
        self.callable_subjects = service.may_call()
        self.publishable = service.may_publish()
        self.turn = Turn()
        self.endpoints: list[Endpoint] = []
        self.consumers: list[Consumer] = []
        self.pulls: list[Pulling] = []
        self.ready = False
        self.started_s = 0.0
        self.metadata: dict[str, str] = {}
        # What `/readyz` tells besides: a service is no less ready for it.
        self.notes: dict[str, Callable[[], object]] = {}
        if self.release != STABLE:
            self.metadata["release"] = self.release
        if self.partitions:
            self.metadata["partitions"] = " ".join(map(str, self.partitions))
        self.connection = Connection()
        self.parts = tracing.parts()
        self.caller = self.parts.caller(self.connection, service.name, self.instance)
        self.caller.partitions = partial(partitions.count_of, self.settings)
        for call in service.calls:
            self.caller.partitions(call.service)  # what nobody can follow is told at the start
        self.policies = Policies(self.caller, self.clock, self.log)
        self.ingest = Ingest(self.connection, service.name, self.instance)
        self.localizer = Localizer(service.name, self.find_http)
        self.relay: Relay | None = None
        self.database: Database | None = None
        self._redis: Redis | None = None
        self._caches: dict[str, Cache] = {}

    def context(self) -> Context:
        """Return a context for own work: nobody waits, a new correlation begins."""
        return Context(self)

    async def start(self) -> None:
        """Connect, run the start hooks, then answer and hear.

        Waits for NATS as long as it takes, each attempt logged; raises Unavailable when NATS
        refuses the connection for good, or when the database does not answer.
        """
        began = time.perf_counter()
        await self._connect()
        if self.service.database:
            self.relay = self.parts.relay(self)
            own = "_SHADOW" if self.shadow else ""
            url = self.settings[f"{self.service.name.upper()}{own}_DATABASE_URL"]
            connect = self.parts.database.connect
            self.database = await connect(url, self.service.name, self.relay.committed)
            if not self.shadow:
                await self.relay.start()
        if self.service.redis:
            from redis.asyncio import Redis  # two services in twelve pay for it

            self._redis = Redis.from_url(self.settings["REDIS_URL"])
        for hook in self.service.start_hooks:
            await hook(self.context())
        for call, handler in self.service.call_handlers.values():
            endpoint = self.parts.endpoint(self, call, handler)
            await endpoint.start()
            self.endpoints.append(endpoint)
        for stream, hears in self._by_stream().items():
            consumer = self.parts.consumer(self, stream, hears)
            await consumer.start()
            self.consumers.append(consumer)
        STANDING.watch(self)
        await Discovery(self, self.metadata).start()
        await self.connection.flush()
        self.ready = True
        self.started_s = time.perf_counter() - began
        self.log.info("ready", seconds=round(self.started_s, 3))
        if self.service.localizes and not self.shadow:
            self.warming = asyncio.create_task(self.localizer.warm(self.service.localizes))

    def _by_stream(self) -> dict[str, list[Any]]:
        streams: dict[str, list[Any]] = {}
        if self.shadow:
            return streams  # what it took would be missing elsewhere
        for hear in self.service.hears_events:
            streams.setdefault(hear.event.stream, []).append(hear)
        return streams

    async def _connect(self) -> None:
        name = self.service.name
        user = SHADOW if self.shadow else name
        gauge = metrics.CONNECTED.labels(name)

        async def connected() -> None:
            gauge.set(1)
            self.caller.reconnected()
            if not self.shadow:
                self.policies.watch(self.jetstream)
            for pulling in self.pulls:
                pulling.lost_connection()

        async def disconnected() -> None:
            gauge.set(0)

        try:
            await self.connection.connect(
                self.settings["NATS_URL"],
                name=f"{name}-{self.instance[-8:]}",
                nkeys_seed_str=self.settings.nkey_seed(user),
                inbox_prefix=f"_INBOX.{user}",
                tls=tls.nats_context(self.settings),
                error_cb=self._broker_error,
                disconnected_cb=disconnected,
                reconnected_cb=connected,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # pyright: ignore[reportArgumentType] -- a float works
                connect_timeout=5,
                drain_timeout=int(DRAIN_GRACE_S),
            )
        except (OSError, NatsError) as failure:
            raise Unavailable(f"{name} cannot reach NATS: {failure or type(failure)}") from failure
        gauge.set(1)
        if self.shadow:
            return  # it may ask nobody
        await self.caller.start()
        self.policies.watch(self.jetstream)
        await self.ingest.start()

    async def _broker_error(self, failure: Exception) -> None:
        text = str(failure)
        if "permissions violation" in text.lower():
            self.caller.deny(text.rsplit('"', 2)[-2] if text.count('"') > 1 else "")
            self.log.error("denied by the broker", cause=text)
        elif isinstance(failure, SlowConsumerError):
            self.log.error("slow consumer", subject=failure.subject)
            self._shed(failure.reply)
        else:
            self.log.warning("nats", cause=text or type(failure).__name__)

    def _shed(self, reply: str | None) -> None:
        """Tell who asked that there is no room, when what the client dropped was a call."""
        if reply and reply.startswith(INBOX_ROOT + "."):
            body, headers = error_reply(Overloaded("the client's queue is full; nothing was done"))
            self.connection.send(reply, body, "", headers)

    async def stop(self) -> None:
        """Drain: answer what was taken, finish events, publish the outbox, then disconnect.

        Stopping what is stopped does nothing.
        """
        STANDING.forget(self)
        if self.connection.is_closed:
            return
        self.ready = False
        await asyncio.gather(
            *(endpoint.drain(DRAIN_GRACE_S) for endpoint in self.endpoints),
            *(consumer.drain(DRAIN_GRACE_S) for consumer in self.consumers),
        )
        for hook in self.service.stop_hooks:
            await hook(self.context())
        if self.relay is not None:
            await self.relay.drain()
        await self.localizer.close()
        await self.policies.stop()
        if self.database is not None:
            await self.database.close()
        if self._redis is not None:
            await self._redis.aclose()
        try:
            await self.connection.close()
        except (OSError, NatsError) as failure:  # with the broker away: it is closed all the same
            self.log.info("the connection was lost already", cause=repr(failure))
        self.log.info("stopped")

    async def publish_now(
        self, subject: str, body: bytes, message_id: str, headers: dict[str, str] | None = None
    ) -> None:
        """Publish to a stream and wait until it is stored; the id makes a repetition harmless.

        Raises Unavailable when the stream does not take it.
        """
        message = await self.caller.ask(
            subject,
            body,
            time.time() + PUBLISH_WAIT_S,
            {**Parcel(subject, body, message_id).headers(), **(headers or {})},
        )
        check_stored(subject, message)

    async def publish_all(self, parcels: Sequence[Parcel]) -> None:
        """Publish messages to streams in order and wait until all are stored.

        Raises as `publish_now`; some of them may be stored then, and the ids make it harmless to
        publish all again.
        """
        answers = await self.caller.ask_all(
            [(parcel.subject, parcel.body, parcel.headers()) for parcel in parcels],
            time.time() + PUBLISH_WAIT_S,
        )
        for parcel, message in zip(parcels, answers, strict=True):
            check_stored(parcel.subject, message)

    async def find_http(self, service: str) -> str | None:
        """Return where another service's HTTP is, as it tells in its own discovery answer."""
        answers = await survey(
            self.connection, self.service.name, f"$SRV.INFO.{service}", wait_s=1.0, enough=1
        )
        return next((str(answer["metadata"].get("http", "")) or None for answer in answers), None)

    def own_database(self) -> Database:
        """Return the service's database; raises Undeclared when it declares none."""
        if self.database is None:
            raise undeclared(self.service.name, "a database")
        return self.database

    def own_redis(self) -> "Redis":
        """Return the service's Valkey client; raises Undeclared when it declares none."""
        if self._redis is None:
            raise undeclared(self.service.name, "Valkey")
        return self._redis

    def own_cache(self) -> Cache:
        """Return the service's own bucket; raises Undeclared when it declares none."""
        if not self.service.cache:
            raise undeclared(self.service.name, "a cache")
        return self.shared_cache(self.service.name)

    def shared_cache(self, bucket: str) -> Cache:
        """Return a bucket by name."""
        if bucket not in self._caches:
            self._caches[bucket] = Cache(self.connection, bucket, self.service.name, self.log)
        return self._caches[bucket]

    @property
    def jetstream(self) -> Any:
        """Return the raw JetStream context, for what is beyond events (schedules)."""
        return self.connection.jetstream(timeout=5)

    def dependencies(self) -> dict[str, Callable[[], bool]]:
        """Return what readiness depends on, each with a check that costs nothing."""
        checks: dict[str, Callable[[], bool]] = {
            "nats": lambda: self.connection.is_connected,
            "started": lambda: self.ready,
        }
        return checks


def check_stored(subject: str, message: Message) -> None:
    """Raise Unavailable unless a stream acknowledged what was published."""
    if message.headers and message.headers.get("Status") == "503":
        raise Unavailable(f"no stream takes {subject}: run `./just migrate`")
    acknowledgement = decoder(Stored).decode(message.data)
    if acknowledgement.error is not None:
        raise Unavailable(f"{subject} was not stored: {acknowledgement.error}")


class Stored(msgspec.Struct):
    """What a stream answers, as far as we look at it."""

    error: dict[str, Any] | None = None
