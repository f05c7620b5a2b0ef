"""Serves calls by the list: one message is decoded, handled and answered as a whole."""

import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg

from svc.mesh.context import Context
from svc.mesh.errors import Invalid, Refused, TimedOut, Unavailable, problem
from svc.mesh.wire import (
    BATCH_MARK,
    Answered,
    context_of,
    decode_request,
    decoder,
    encode,
    error_reply,
    unpack_context,
)

if TYPE_CHECKING:
    from svc.mesh.endpoint import Endpoint
    from svc.mesh.service import ManyHandler

LATE = Answered()


class Many:
    """The endpoint of one call whose handler takes lists."""

    def __init__(
        self, endpoint: "Endpoint", handler: "ManyHandler[Any, Any]", request: type[Struct]
    ) -> None:
        """Serve for this endpoint."""
        self.endpoint = endpoint
        self.runtime = endpoint.runtime
        self.handler = handler
        self.request = request
        self.decode = decoder(list[request]).decode

    async def serve(self, message: Msg, batch: str | None, caller: str) -> None:
        """Answer one message: a batch with a packed context for each call, or a call alone."""
        if batch is None:
            await self._serve_alone(message, caller)
            return
        packed = batch.split(BATCH_MARK)
        self.endpoint.stats.requests += len(packed) - 1
        try:
            bodies = self._decoded(message.data)
        except Invalid as failure:
            await self.endpoint.refuse(message, failure, caller)
            return
        if len(bodies) != len(packed):
            failure = Invalid("a batch needs a context for each call")
            await self.endpoint.refuse(message, failure, caller)
            return
        answers = await self._answers(bodies, [unpack_context(one) for one in packed], caller)
        await self.runtime.connection.publish(message.reply, encode([on_wire(a) for a in answers]))

    async def _serve_alone(self, message: Msg, caller: str) -> None:
        try:
            body = decode_request(self.request, message.data)
        except Invalid as failure:
            await self.endpoint.refuse(message, failure, caller)
            return
        [answer] = await self._answers([body], [context_of(message)], caller)
        if answer is LATE or not message.reply:
            return
        if isinstance(answer, Exception):
            body, headers = error_reply(answer)
            await self.runtime.connection.publish(message.reply, body, headers=headers)
        else:
            await self.runtime.connection.publish(message.reply, encode(answer))

    def _decoded(self, data: bytes) -> list[Any]:
        """Return the requests of a batch; where one is of another form, why, in its place."""
        try:
            return self.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        try:
            bodies = decoder(list[msgspec.Raw]).decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as failure:
            raise Invalid(f"not a batch: {failure}") from failure
        requests: list[Any] = []
        for body in bodies:
            try:
                requests.append(decode_request(self.request, bytes(body)))
            except Invalid as failure:
                requests.append(failure)
        return requests

    async def _answers(
        self, bodies: list[Any], sent: list[tuple[float | None, str, str]], caller: str
    ) -> list[Any]:
        """Return for each call its reply, its failure, or LATE."""
        answers: list[Any] = list(bodies)
        requests: list[Any] = []
        contexts: list[Context] = []
        places: list[int] = []
        now = time.time()
        for place, (body, one) in enumerate(zip(bodies, sent, strict=True)):
            deadline, correlation_id, traceparent = one
            if deadline is None:
                deadline = now + self.endpoint.call.deadline_ms / 1000
            if deadline <= now:
                self.endpoint.stats.late += 1
                answers[place] = LATE
            elif not isinstance(body, Invalid):
                places.append(place)
                requests.append(body)
                contexts.append(
                    Context(
                        self.runtime,
                        caller=caller,
                        deadline=deadline,
                        correlation_id=correlation_id,
                        traceparent=traceparent,
                    )
                )
        if requests:
            handled = await self._handled(requests, contexts)
            for place, answer in zip(places, handled, strict=True):
                answers[place] = answer
        self._count(answers, caller)
        return answers

    async def _handled(self, requests: list[Any], contexts: list[Context]) -> list[Any]:
        failure: Exception
        try:
            return list(await self.handler(requests, contexts))
        except TimedOut as timed_out:
            # What this service asked did not answer in time, but this service does: try again.
            failure = Unavailable(timed_out.detail)
        except (Refused, Unavailable) as refused:
            failure = refused
        except Exception as bug:  # noqa: BLE001  # whatever it is, each caller gets an answer
            contexts[0].log.exception("handler failed", subject=self.endpoint.call.subject)
            failure = bug
        return [failure] * len(requests)

    def _count(self, answers: list[Any], caller: str) -> None:
        good = 0
        for answer in answers:
            if isinstance(answer, Exception):
                self.endpoint.failed(answer, caller)
            elif answer is not LATE:
                good += 1
        if good:
            self.endpoint.count("ok", caller, good)


def on_wire(answer: Any) -> Any:
    """Return one answer of a batch in its form on the wire."""
    if isinstance(answer, Exception):
        return None, problem(answer)
    return answer if answer is LATE else (answer, None)
