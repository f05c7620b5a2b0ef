"""What operators may ask of a service that hears: its dead letters, and to be rebuilt.

Every such service answers for itself on `rpc.mesh.v1.<service>.…`, in its queue group: it alone has
the handlers, the inbox and the rights. Only the operator may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from svc.mesh import letters, rebuild
from svc.mesh.clock import new_id
from svc.mesh.contract import Call
from svc.mesh.errors import Conflict, Invalid, NotFound, Refused, TimedOut, Unavailable
from svc.mesh.letters import Letter
from svc.mesh.rebuild import NotRebuilt
from svc.mesh.wire import OPERATOR, caller_of, decode_request, encode, error_reply

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from svc.mesh.runtime import Runtime

DEADLINE_MS = 10_000
TOO_LARGE = (
    "the answer is more than one message carries; the letter itself is in its stream:"
    " `./just nats stream view DEAD`"
)


class StillFailing(Refused):
    """The event fails again."""

    name = "still-failing"
    status = 422


class Listing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask for the open letters, or with `settled` for the notes of the ended ones too."""

    settled: bool = False


class Letters(Struct, frozen=True, kw_only=True):
    """Letters without bodies, oldest first (at most 1,000 of `total`)."""

    letters: list[Letter]
    total: int


class Which(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One letter, by its id."""

    id: str


class Settled(Struct, frozen=True, kw_only=True):
    """What became of a letter: `ok`, `duplicate` (it took effect before), `ignored`, `dropped`."""

    id: str
    outcome: str


class Rebuild(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Forget what was derived since an instant (`./just replay` asks, and does the rest).

    `upto` is the last sequence of each stream, `kept_since` from when on all of them are complete.
    """

    since: datetime
    upto: dict[str, int]
    kept_since: datetime | None = None


class Forgotten(Struct, frozen=True, kw_only=True):
    """From when on the service needs its events again."""

    since: datetime


def dead_list(service: str) -> Call[Listing, Letters]:
    """Return the call that lists a service's dead letters."""
    return _call(service, "dead_list", Listing, Letters, "List the events that were parked.")


def dead_show(service: str) -> Call[Which, Letter]:
    """Return the call that shows one letter."""
    purpose = "Show a parked event, with its body."
    return _call(service, "dead_show", Which, Letter, purpose, NotFound)


def dead_replay(service: str) -> Call[Which, Settled]:
    """Return the call that works on a letter again."""
    purpose = "Work on a parked event again; by the inbox it takes effect once."
    return _call(service, "dead_replay", Which, Settled, purpose, NotFound, Conflict, StillFailing)


def dead_drop(service: str) -> Call[Which, Settled]:
    """Return the call that gives a letter up."""
    purpose = "Give a parked event up; a note stays for a month."
    return _call(service, "dead_drop", Which, Settled, purpose, NotFound, Conflict)


def forget(service: str) -> Call[Rebuild, Forgotten]:
    """Return the call that makes a service forget what it derived."""
    purpose = "Forget what was derived from events since an instant, before they are told again."
    return _call(service, "forget", Rebuild, Forgotten, purpose, NotRebuilt, Conflict)


def _call(
    service: str, verb: str, request: Any, reply: Any, purpose: str, *refuses: type[Refused]
) -> Call[Any, Any]:
    subject = f"rpc.mesh.v1.{service}.{verb}"
    return Call(subject, request, reply, purpose, refuses=refuses, deadline_ms=DEADLINE_MS)


def calls_of(service: str) -> tuple[Call[Any, Any], ...]:
    """Return all that operators may ask of a service that hears."""
    return tuple(make(service) for make in (dead_list, dead_show, dead_replay, dead_drop, forget))


class Desk:
    """Answers operators for one service instance."""

    def __init__(self, runtime: Runtime) -> None:
        """Prepare; `start` subscribes."""
        self.runtime = runtime
        self.name = runtime.service.name
        self.tasks: set[asyncio.Task[None]] = set()
        self.subscription: Subscription | None = None
        does: tuple[Callable[[Any], Awaitable[Struct]], ...] = (
            self._list, self._show, self._replay, self._drop, self._forget,
        )  # fmt: skip
        pairs = zip(calls_of(self.name), does, strict=True)
        self.answers = {call.subject: (call, answer) for call, answer in pairs}

    async def start(self) -> None:
        """Begin to answer."""
        self.subscription = await self.runtime.connection.subscribe(
            f"rpc.mesh.v1.{self.name}.*", queue=self.name, cb=self._asked
        )

    async def drain(self) -> None:
        """Take no more and finish what was taken; each answer has its own deadline."""
        if self.subscription is not None:
            await self.subscription.drain()  # what is on its way here is still answered
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _asked(self, message: Msg) -> None:
        if caller_of(message.reply) != OPERATOR:  # see Endpoint: nobody else can have asked
            self.runtime.log.error("not asked by the operator", subject=message.subject)
            return
        task = asyncio.create_task(self._serve(message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, message: Msg) -> None:
        headers: dict[str, str] | None = None
        try:
            async with asyncio.timeout(DEADLINE_MS / 1000):
                body = await self._answer(message)
        except Exception as failure:
            if not isinstance(failure, (Refused, Unavailable, TimeoutError)):
                self.runtime.log.exception("the desk failed", subject=message.subject)
            slow = isinstance(failure, TimeoutError)
            body, headers = error_reply(TimedOut("it took too long") if slow else failure)
        if message.reply:
            await self.runtime.connection.publish(message.reply, body, headers=headers)

    async def _answer(self, message: Msg) -> bytes:
        found = self.answers.get(message.subject)
        if found is None:
            raise NotFound(f"nobody answers {message.subject}; there is: {', '.join(self.answers)}")
        call, answer = found
        body = encode(await answer(decode_request(call.request, message.data)))
        if len(body) > self.runtime.connection.answer_max:
            raise Conflict(TOO_LARGE)
        return body

    async def _list(self, request: Listing) -> Letters:
        found, total = await letters.listed(
            self.runtime.connection, self.name, settled=request.settled
        )
        return Letters(letters=found, total=total)

    async def _show(self, request: Which) -> Letter:
        return (await self._fetch(request))[0]

    async def _fetch(self, request: Which) -> tuple[Letter, bytes]:
        if request.id.partition(".")[0] != self.name:
            raise NotFound(f"{request.id} is not a letter of {self.name}")
        return await letters.fetch(self.runtime.connection, request.id)

    async def _open(self, request: Which) -> tuple[Letter, bytes]:
        letter, body = await self._fetch(request)
        if letter.settled:
            raise Conflict(f"{letter.id} was {letter.settled} already")
        return letter, body

    async def _replay(self, request: Which) -> Settled:
        letter, body = await self._open(request)
        if letter.foreign:
            raise Conflict(f"{letter.id} was not parked by {self.name}: drop it")
        consumer = next((c for c in self.runtime.consumers if c.stream == letter.stream), None)
        if consumer is None:
            raise NotFound(f"{self.name} hears {letter.stream} no more")
        try:
            outcome = await consumer.bring(body, letter.sequence)
        except (Unavailable, TimeoutError):
            raise
        except Exception as failure:
            if not isinstance(failure, Refused):
                self.runtime.log.exception("a replayed event failed", letter=letter.id)
            await self._park_again(letter, body, failure)
            raise StillFailing(f"{type(failure).__name__}: {failure}") from failure
        await self._settle(letter, "replayed")
        return Settled(id=letter.id, outcome=outcome)

    async def _drop(self, request: Which) -> Settled:
        letter, _ = await self._open(request)
        await self._settle(letter, "dropped")
        return Settled(id=letter.id, outcome="dropped")

    async def _settle(self, letter: Letter, how: str) -> None:
        try:
            await self._publish(letter, b"", letters.settled_headers(letter, how))
        except Unavailable:
            # Somebody else settled it at the same moment: then it is as it should be.
            if not (await letters.read(self.runtime.connection, letter.id)).settled:
                raise
        self.runtime.log.info("dead letter settled", letter=letter.id, how=how)

    async def _park_again(self, letter: Letter, body: bytes, failure: BaseException) -> None:
        headers = letters.parked_headers(
            self.name,
            letter.stream,
            letter.sequence,
            subject=letter.subject,
            attempts=letter.attempts + 1,
            failure=failure,
        )
        await self._publish(letter, body, headers)

    async def _publish(self, letter: Letter, body: bytes, headers: dict[str, str]) -> None:
        subject = f"{letters.ROOT}.{letter.id}"
        await self.runtime.publish_now(subject, body, new_id(), headers)

    async def _forget(self, request: Rebuild) -> Forgotten:
        if request.since.tzinfo is None:
            raise Invalid("since needs a time zone, as 2026-11-01T00:00:00Z has")
        since = await rebuild.forget(self.runtime, request.since, request.upto, request.kept_since)
        self.runtime.log.warning("forgot what was derived", since=since.isoformat())
        return Forgotten(since=since)
