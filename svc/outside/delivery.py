"""Webhooks on their way: signed anew at every attempt, at least once, with real life's faults."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Annotated, Literal

import httpx
from msgspec import Meta, Struct

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 10.0
ATTEMPTS_MAX = 200
# A webhook that waits to be overtaken leaves after this long even when no other one comes.
OVERTAKE_WAIT_S = 1.0
ATTEMPT_TIMEOUT_S = 10.0
PARCELS_KEPT_MAX = 10_000

Count = Annotated[int, Meta(ge=0)]
# true = until switched off, a number = for so many times.
Switch = bool | Count


class Faults(Struct, kw_only=True, forbid_unknown_fields=True):
    """What may go wrong on the way; everything is off until asked for."""

    duplicate: Switch = False
    """The webhook goes out twice at the same time."""
    reorder: Switch = False
    """The webhook waits until the next one has been sent."""
    drop: Switch = False
    """The webhook is never sent; asking the provider, or `resend`, still tells its news."""
    delay_ms: Count = 0
    """Every webhook waits so long before its first attempt."""
    bad_signature: Switch = False
    """The attempt is signed with a wrong secret."""
    error_5xx: Switch = False
    """The provider's own API answers 503 and does nothing."""
    processing_ms: Count = 20
    """So long a payment, payout or message takes to change its state."""

    def take(self, name: str) -> bool:
        """Say whether the switch is on, and use up one of its times."""
        value: bool | int = getattr(self, name)
        if isinstance(value, bool):
            return value
        if value > 0:
            setattr(self, name, value - 1)
        return value > 0


class Parcel(Struct, kw_only=True):
    """One webhook, what it is about and how far it got."""

    id: str
    kind: str
    about: str
    url: str
    content: bytes
    created: int = 0
    state: Literal["waiting", "delivered", "dropped", "given_up"] = "waiting"
    attempts: int = 0
    last_answer: str = ""


# Gets the parcel and whether to forge, returns the HTTP headers of one attempt.
Signer = Callable[[Parcel, bool], dict[str, str]]


class Courier:
    """Sends each webhook until a 2xx, with doubling pauses; webhooks may overtake each other."""

    def __init__(self, sign: Signer, faults: Faults) -> None:
        """Start with nothing on the way; `sign` makes the headers of each attempt."""
        self.faults = faults
        self.parcels: deque[Parcel] = deque(maxlen=PARCELS_KEPT_MAX)
        self._sign = sign
        self._client = httpx.AsyncClient(timeout=ATTEMPT_TIMEOUT_S, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()
        self._overtaken: asyncio.Event | None = None

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Do something in the background, until it ends or the program does."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send(self, parcel: Parcel) -> None:
        """Take a webhook to deliver; returns at once."""
        self.parcels.append(parcel)
        if self.faults.take("drop"):
            parcel.state = "dropped"
            return
        overtaken, self._overtaken = self._overtaken, None
        if overtaken is None and self.faults.take("reorder"):
            self._overtaken = asyncio.Event()
            self.spawn(self._deliver_after(self._overtaken, parcel))
            return
        for _ in range(2 if self.faults.take("duplicate") else 1):
            self.spawn(self._deliver(parcel, overtaken))

    def resend(self, parcel: Parcel) -> None:
        """Deliver a webhook again, whatever became of it."""
        self.spawn(self._deliver(parcel, None))

    async def close(self) -> None:
        """Forget what is still on the way and hang up."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _deliver_after(self, overtaken: asyncio.Event, parcel: Parcel) -> None:
        try:
            await asyncio.wait_for(overtaken.wait(), OVERTAKE_WAIT_S)
        except TimeoutError:
            if self._overtaken is overtaken:
                self._overtaken = None
        await self._deliver(parcel, None)

    async def _deliver(self, parcel: Parcel, overtaken: asyncio.Event | None) -> None:
        await asyncio.sleep(self.faults.delay_ms / 1000)
        pause_s = FIRST_RETRY_S
        for _ in range(ATTEMPTS_MAX):
            accepted = await self._attempt(parcel)
            if overtaken is not None:
                overtaken.set()
            if accepted:
                parcel.state = "delivered"
                return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LAST_RETRY_S)
        parcel.state = "given_up"

    async def _attempt(self, parcel: Parcel) -> bool:
        parcel.attempts += 1
        headers = self._sign(parcel, self.faults.take("bad_signature"))
        try:
            answer = await self._client.post(parcel.url, content=parcel.content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            parcel.last_answer = type(error).__name__
            return False
        parcel.last_answer = str(answer.status_code)
        return answer.is_success
