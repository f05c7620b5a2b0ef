"""Coalescing: concurrent calls of one batchable subject travel as one message, without any timer.

A lone call goes out at once. While two messages of a subject are on their way, what else is asked
gathers and leaves together with the next answer, so messages grow with the load and no call waits
for company. Each call keeps its own answer, refusal, deadline and trace.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from svc.mesh.contract import Call
from svc.mesh.errors import RemoteBug, TimedOut, from_problem
from svc.mesh.wire import BATCH_HEADER, BATCH_MARK, CONTEXT_HEADER, NOTHING, Answered, decoder

if TYPE_CHECKING:
    from svc.mesh.caller import Caller

IN_FLIGHT_MAX = 2
"""Messages of one subject on their way; measured: one was slower, four no better."""
BATCH_MAX = 512
"""Calls in one message: far below the broker's largest payload."""


@dataclass
class Waiting:
    """One call that waits for its answer."""

    body: bytes
    packed: str
    deadline: float
    future: asyncio.Future[bytes]


@dataclass
class Lane:
    """The calls of one subject."""

    call: Call[Any, Any]
    queue: deque[Waiting] = field(default_factory=deque[Waiting])
    in_flight: int = 0


class Coalescer:
    """Gathers the batchable calls of one caller."""

    def __init__(self, caller: "Caller") -> None:
        """Send through this caller."""
        self.caller = caller
        self.lanes: dict[str, Lane] = {}
        self.sending: set[asyncio.Task[None]] = set()

    async def ask(self, call: Call[Any, Any], body: bytes, deadline: float, packed: str) -> bytes:
        """Send one call, alone or in company, and return its encoded answer.

        Raises what the callee refused, or TimedOut at this call's own deadline.
        """
        lane = self.lanes.get(call.subject)
        if lane is None:
            lane = self.lanes[call.subject] = Lane(call)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        lane.queue.append(Waiting(body, packed, deadline, future))
        with self.caller.expecting(future, deadline, call.subject):
            if lane.in_flight < IN_FLIGHT_MAX:
                self._send(lane)
            return await future

    def _send(self, lane: Lane) -> None:
        batch = [lane.queue.popleft() for _ in range(min(len(lane.queue), BATCH_MAX))]
        batch = [waiting for waiting in batch if not waiting.future.done()]
        if not batch:
            return
        lane.in_flight += 1
        task = asyncio.create_task(self._exchange(lane, batch))
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)

    async def _exchange(self, lane: Lane, batch: list[Waiting]) -> None:
        try:
            if len(batch) == 1:
                body, headers = batch[0].body, {CONTEXT_HEADER: batch[0].packed}
            else:
                body = b"[" + b",".join([waiting.body for waiting in batch]) + b"]"
                headers = {BATCH_HEADER: BATCH_MARK.join([waiting.packed for waiting in batch])}
            deadline = max(waiting.deadline for waiting in batch)
            answer = await self.caller.exchange(lane.call, body, deadline, headers)
            _hand_out(lane.call, batch, answer)
        except Exception as failure:  # noqa: BLE001  # every caller of the batch hears it
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(failure)
        finally:
            lane.in_flight -= 1
            if lane.queue:
                self._send(lane)


def _hand_out(call: Call[Any, Any], batch: list[Waiting], answer: bytes) -> None:
    if len(batch) == 1:
        if not batch[0].future.done():
            batch[0].future.set_result(answer)
        return
    try:
        answers = decoder(list[Answered]).decode(answer)
    except msgspec.DecodeError as failure:
        raise RemoteBug(f"{call.subject} answered a batch in another form") from failure
    if len(answers) != len(batch):
        raise RemoteBug(f"{call.subject} answered {len(answers)} of {len(batch)} calls")
    for waiting, answered in zip(batch, answers, strict=True):
        if waiting.future.done():
            continue
        if answered.reply != NOTHING:
            waiting.future.set_result(bytes(answered.reply))
        elif answered.problem != NOTHING:
            waiting.future.set_exception(from_problem(bytes(answered.problem), call.refuses))
        else:
            waiting.future.set_exception(TimedOut(f"{call.subject} came too late to be served"))
