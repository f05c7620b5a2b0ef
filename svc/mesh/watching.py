"""Watching a bucket: every value that was put there by who may, as it is now and as it changes.

What anybody else had the server store there (see EXPECTED_STREAM) is passed over: it can take the
place of a value for those who begin to watch after it, but never give one.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError
from nats.js.api import DeliverPolicy
from nats.js.errors import Error as JetStreamError

from svc.mesh.wire import COPIED, EXPECTED_STREAM

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

OPERATION, MARKER = "KV-Operation", "Nats-Marker-Reason"
AGAIN_S = 0.5
INACTIVE_S = 300
"""A watch that nobody follows any more goes after this by itself."""


def bucket_stream(bucket: str) -> str:
    """Return the stream that a bucket is."""
    return f"KV_{bucket}"


class Watch:
    """One bucket, watched: `heard` gets each key with its value, or None when it is gone.

    `complete` is called when all is told that was there at the beginning. That is counted here:
    nats-py's own watch says so too early when the server's word that nothing is left overtakes
    the values.
    """

    def __init__(
        self,
        bucket: str,
        heard: Callable[[str, bytes | None], None],
        complete: Callable[[], None],
        log: Any,
    ) -> None:
        """Prepare; `follow` watches."""
        self.bucket = bucket
        self.prefix = f"$KV.{bucket}."
        self.heard = heard
        self.complete = complete
        self.log = log
        self.came = 0
        self.there: int | None = None
        self.again_s = AGAIN_S

    async def follow(
        self, jetstream: "JetStreamContext", pattern: str = ">", *, again_s_max: float = AGAIN_S
    ) -> None:
        """Watch until cancelled; whatever ends a watch, the next one begins.

        After attempts in vain it waits longer each time, up to `again_s_max` seconds.
        """
        while True:
            try:
                await self._run(jetstream, pattern)
            except (NatsError, JetStreamError, TimeoutError) as failure:
                cause = str(failure) or type(failure).__name__
                self.log.warning("bucket not watched", bucket=self.bucket, cause=cause)
            except Exception:
                self.log.exception("bucket not watched", bucket=self.bucket)
            await asyncio.sleep(self.again_s)
            self.again_s = min(self.again_s * 2, again_s_max)

    async def _run(self, jetstream: "JetStreamContext", pattern: str) -> None:
        """Watch until cancelled; raises an Error of nats or JetStream when that cannot begin."""
        self.came, self.there = 0, None
        subscription: Any = await jetstream.subscribe(
            self.prefix + pattern,
            stream=bucket_stream(self.bucket),
            cb=self._take,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            inactive_threshold=INACTIVE_S,
        )
        try:
            info = await subscription.consumer_info()
            self.there = info.delivered.consumer_seq + info.num_pending
            self.again_s = AGAIN_S
            self._look()
            await asyncio.Event().wait()
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _take(self, message: "Msg") -> None:
        headers = message.headers or {}
        key = message.subject.removeprefix(self.prefix)
        # That a value expired is the server's own word, which has no stream's name.
        expired = MARKER in headers and COPIED not in headers
        if expired or headers.get(EXPECTED_STREAM) == bucket_stream(self.bucket):
            self.heard(key, None if expired or OPERATION in headers else message.data)
        else:
            self.log.error("not put by who may", bucket=self.bucket, key=key)
        self.came += 1
        self._look()

    def _look(self) -> None:
        if self.there is not None and self.came >= self.there:
            self.complete()
