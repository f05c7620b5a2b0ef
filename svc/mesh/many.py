"""Serves calls by the list: one message is decoded, handled and answered as a whole."""

import time
from typing import TYPE_CHECKING, Any

from svc.mesh.connection import Message
from svc.mesh.context import Context
from svc.mesh.errors import Invalid, Refused, Unavailable
from svc.mesh.wire import LATE, Sender, Sent, error_reply, on_wire

if TYPE_CHECKING:
    from svc.mesh.endpoint import Endpoint
    from svc.mesh.service import ManyHandler


class Many:
    """The endpoint of one call whose handler takes lists."""

    def __init__(self, endpoint: "Endpoint", handler: "ManyHandler[Any, Any]") -> None:
        """Serve for this endpoint."""
        self.endpoint = endpoint
        self.runtime = endpoint.runtime
        self.handler = handler

    async def serve(self, message: Message, sender: Sender, *, batch: bool) -> None:
        """Answer one message: a batch with a context for each call, or a call alone."""
        caller = sender.caller
        try:
            reader = self.endpoint.batches
            sent = reader.read(message.data) if batch else [self._alone(message.data, sender)]
        except Invalid as failure:
            self.endpoint.refuse(message, failure, caller)
            return
        self.endpoint.stats.requests += len(sent) - 1
        answers = await self._answers(sent, caller)
        body, headers = b"", None
        if batch:
            body = self.endpoint.encoded([on_wire(answer) for answer in answers])
        elif isinstance(answers[0], Exception):
            body, headers = error_reply(answers[0])
        elif answers[0] is not LATE:
            body = self.endpoint.encoded(answers[0])
        self._count(answers, caller)
        if message.reply and body:
            self.runtime.connection.send(message.reply, body, "", headers)

    def _alone(self, data: bytes, sender: Sender) -> Sent[Any]:
        deadline = sender.deadline or time.time() + self.endpoint.call.deadline_ms / 1000
        request = self.endpoint.batches.read_one(data)
        return Sent(int(deadline * 1000), sender.correlation_id, sender.traceparent, request)

    async def _answers(self, sent: list[Sent[Any]], caller: str) -> list[Any]:
        """Return for each call its reply, its failure, or LATE."""
        now_ms = time.time() * 1000
        good = [
            one for one in sent if one.deadline_ms > now_ms and type(one.request) is not Invalid
        ]
        answers: list[Any] = []
        if good:
            runtime = self.runtime
            contexts = [
                Context(
                    runtime,
                    caller=caller,
                    deadline=one.deadline_ms / 1000,
                    correlation_id=one.correlation_id,
                    traceparent=one.traceparent,
                )
                for one in good
            ]
            answers = await self._handled([one.request for one in good], contexts)
        if len(good) < len(sent):
            handled = iter(answers)
            unserved = [self._unserved(one, now_ms) for one in sent]
            answers = [next(handled) if why is None else why for why in unserved]
        return answers

    def _unserved(self, one: Sent[Any], now_ms: float) -> Any:
        """Return why a call was not given to the handler, None when it was."""
        if type(one.request) is Invalid:
            return one.request
        if one.deadline_ms <= now_ms:
            self.endpoint.stats.late += 1
            return LATE
        return None

    async def _handled(self, requests: list[Any], contexts: list[Context]) -> list[Any]:
        failure: Exception
        try:
            return list(await self.handler(requests, contexts))
        except Unavailable as unavailable:
            # Whatever befell what this service asked, this service answers: try again.
            failure = Unavailable(unavailable.detail, unavailable.retry_after)
        except Refused as refused:
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
