"""Serves calls that travelled together one by one: each is answered when it is done."""

import asyncio
import time
from collections.abc import Iterator
from operator import itemgetter, length_hint
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from nats.errors import Error as NatsError

from svc.mesh.connection import Message
from svc.mesh.errors import Overloaded
from svc.mesh.wire import BODY_MAX, LATE, PLACES_HEADER, Sent, encode, error_reply, on_wire

if TYPE_CHECKING:
    from svc.mesh.endpoint import Endpoint


PLACE = itemgetter(0)


def no_room() -> Overloaded:
    """Return what a call is told that finds the queue full."""
    return Overloaded("the endpoint's queue is full; nothing was done")


class Each:
    """The calls of one message."""

    __slots__ = ("caller", "done", "endpoint", "leaving", "message", "sent", "shed", "todo")

    def __init__(
        self, endpoint: "Endpoint", message: Message, sent: list[Sent[Any]], caller: str
    ) -> None:
        """Nothing is served."""
        self.endpoint = endpoint
        self.message = message
        self.sent = sent
        self.caller = caller
        self.todo: Iterator[int] = iter(range(len(sent)))
        self.done: list[tuple[int, Any]] = []
        self.shed: list[int] = []
        self.leaving = False

    async def serve(self, task: "asyncio.Task[Any]") -> None:
        """Serve them in a row, in the task of a worker.

        As soon as one waits for something, the others are work like what arrives; before that none
        is, since most handlers never wait, and to be worked on beside others costs more than a
        small handler. Who computes for long is interrupted, and goes on when others were heard.
        """
        endpoint, turn = self.endpoint, self.endpoint.turn
        waits = asyncio.get_running_loop().call_soon(self._spread)
        try:
            for place in self.todo:
                one = self.sent[place]
                answer = await endpoint.answer_one(one, self.caller, task)
                self.done.append((place, answer))
                if time.perf_counter_ns() > turn.until_ns and self.left():
                    endpoint.interrupted(self)
                    break
        finally:
            waits.cancel()
        self.leave()

    def left(self) -> int:
        """Return how many are not served yet."""
        return length_hint(self.todo)

    def _spread(self) -> None:
        """Answer what is done, and let the endpoint work on the others beside one another."""
        self.leave()
        for place in self.todo:
            self.endpoint.admit(Part(self, place))

    def refuse(self, failure: Exception) -> None:
        """Answer what is not served yet with a failure."""
        for place in self.todo:
            self.refuse_one(place, failure)

    def answered(self, place: int, answer: Any) -> None:
        """Answer one call, together with those that are done in the same turn."""
        self.done.append((place, answer))
        self._leave_soon()

    def refuse_one(self, place: int, failure: Exception) -> None:
        """Answer one call, for which there is no room or which cannot be served."""
        self.endpoint.failed(failure, self.caller)
        if not isinstance(failure, Overloaded):
            self.answered(place, failure)
            return
        self.shed.append(place)
        self._leave_soon()

    def _leave_soon(self) -> None:
        if not self.leaving:
            self.leaving = True
            self.endpoint.runtime.connection.before_leaving(self.leave)

    def leave(self) -> None:
        """Send the answers that are there: a reply, a problem, or neither, for each."""
        self.leaving = False
        done, self.done = self.done, []
        shed, self.shed = self.shed, []
        if not self.message.reply:
            return
        if shed:
            body, headers = error_reply(no_room())
            self._send_encoded(shed, body, headers)
        if done:
            if len(done) == len(self.sent):
                done.sort(key=PLACE)  # who gets all of them is not told their places
            self._send([place for place, _ in done], [answer for _, answer in done])

    def _send(self, places: list[int], answers: list[Any]) -> None:
        endpoint = self.endpoint
        body = b""
        try:
            body = endpoint.encoded([on_wire(answer) for answer in answers])
        except (TypeError, ValueError, msgspec.MsgspecError) as bug:
            # A reply that has no form, or is too large, must not take its neighbours with it.
            if len(answers) == 1:
                endpoint.runtime.log.exception("cannot answer", subject=endpoint.call.subject)
                answers = [endpoint.failed(bug, self.caller)]
                body = encode([on_wire(answers[0])])
        if len(answers) > 1 and not 0 < len(body) <= BODY_MAX:
            middle = len(answers) // 2
            self._send(places[:middle], answers[:middle])
            self._send(places[middle:], answers[middle:])
            return
        self._send_encoded(places, body, {})
        good = sum([not isinstance(one, Exception) and one is not LATE for one in answers])
        if good:
            endpoint.count("ok", self.caller, good)

    def _send_encoded(self, places: list[int], body: bytes, headers: dict[str, str]) -> None:
        if len(places) < len(self.sent):
            headers[PLACES_HEADER] = " ".join(map(str, places))
        try:
            self.endpoint.runtime.connection.send(self.message.reply, body, "", headers)
        except NatsError as failure:
            self.endpoint.silent(failure)


class Part(NamedTuple):
    """One call of a message, as work of its own."""

    each: Each
    place: int

    async def serve(self, task: "asyncio.Task[Any]") -> None:
        """Serve it in the task of a worker."""
        each = self.each
        one = each.sent[self.place]
        each.answered(self.place, await each.endpoint.answer_one(one, each.caller, task))

    def refuse(self, failure: Exception) -> None:
        """Answer it with a failure."""
        self.each.refuse_one(self.place, failure)
