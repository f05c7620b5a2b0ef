"""Valkey behind a short patience: the door never waits long for what it can do without.

What is asked while an answer is on its way leaves together with the next question: one script, one
round trip for many requests, without any timer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

ResultT = TypeVar("ResultT")

PATIENCE_S = 0.25
PAUSE_S = 1.0
"""After a failure nobody asks for this long, so that an outage costs one wait a second."""
AT_ONCE = 128
"""Questions of one round trip: Valkey does nothing else while it answers them."""

SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local key, at, said, found = 1, 1, {}, {}

local function take(bucket, rate, burst)
  local kept = redis.call('HMGET', bucket, 'tokens', 'at')
  local tokens = tonumber(kept[1]) or burst
  local since = tonumber(kept[2]) or now
  tokens = math.min(burst, tokens + math.max(0, now - since) * rate / 1000)
  local wait_ms = 0
  if tokens >= 1 then
    tokens = tokens - 1
  else
    wait_ms = math.ceil((1 - tokens) * 1000 / rate)
  end
  redis.call('HSET', bucket, 'tokens', tostring(tokens), 'at', now)
  redis.call('PEXPIRE', bucket, math.ceil(burst * 1000 / rate) + 1000)
  return math.floor(tokens), wait_ms
end

while ARGV[at] do
  local what, left, wait_ms, place = ARGV[at], 0, 0, 0
  if what == 'take' or what == 'enter' then
    left, wait_ms = take(KEYS[key], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
    key, at = key + 1, at + 3
  else
    at = at + 1
  end
  if what == 'enter' or what == 'claim' then
    if wait_ms == 0 then
      local held = redis.call('SET', KEYS[key], ARGV[at], 'NX', 'GET', 'PX', ARGV[at + 1])
      if held then
        found[#found + 1] = held
        place = #found
      end
    end
    key, at = key + 1, at + 2
  elseif what == 'keep' then
    redis.call('SET', KEYS[key], ARGV[at], 'PX', ARGV[at + 1])
    key, at = key + 1, at + 2
  elseif what == 'renew' then
    if redis.call('GET', KEYS[key]) == ARGV[at] then
      redis.call('PEXPIRE', KEYS[key], ARGV[at + 1])
    end
    key, at = key + 1, at + 2
  elseif what == 'forget' then
    if redis.call('GET', KEYS[key]) == ARGV[at] then redis.call('DEL', KEYS[key]) end
    key, at = key + 1, at + 1
  end
  said[#said + 1] = left .. ' ' .. wait_ms .. ' ' .. place
end
table.insert(found, 1, table.concat(said, ' '))
return found
"""
"""Answers questions in their order. `take` (rate, burst) takes a token from a bucket and says what
is left and how many ms until there is one (0: taken). `claim` (marker, ms) sets a marker where
nothing is, or says what is there. `enter` is both: `take`, and the claim only if it took. `keep`
(value, ms) sets; `renew` (marker, ms) and `forget` (marker) do so only while the marker is theirs:
after it expired another request may hold the key. All answers are one text of three numbers each
(left, wait, place among what was found), then what was found: few replies to read."""


class ValkeyDown(Exception):
    """Valkey does not answer; the caller goes on without it."""


class Said:
    """Valkey's answer to one question: tokens left, ms to wait, what a claimed key held before."""

    __slots__ = ("found", "left", "wait_ms")

    def __init__(self, left: int, wait_ms: int, found: bytes | None) -> None:
        """Keep the answer."""
        self.left = left
        self.wait_ms = wait_ms
        self.found = found


class Question:
    """One operation of SCRIPT on its keys, and who waits for the answer."""

    __slots__ = ("answer", "keys", "what")

    def __init__(self, keys: tuple[str, ...], what: tuple[Any, ...]) -> None:
        """Nobody has answered yet."""
        self.keys = keys
        self.what = what
        self.answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()


class Valkey:
    """Runs operations on Valkey, each for at most PATIENCE_S seconds."""

    def __init__(self, client: Callable[[], Redis]) -> None:
        """Take the client from `client` at each use: it exists only once the service runs."""
        self.client = client
        self.pause_until = 0.0
        self.queue: deque[Question] = deque()
        self.task: asyncio.Task[None] | None = None
        self.script: Any = None

    async def run(self, operation: Callable[[Redis], Awaitable[ResultT]]) -> ResultT:
        """Return the operation's result; raises ValkeyDown."""
        loop = asyncio.get_running_loop()
        if loop.time() < self.pause_until:
            raise ValkeyDown
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await operation(self.client())
        except (RedisError, OSError, TimeoutError) as failure:
            self.pause_until = loop.time() + PAUSE_S
            raise ValkeyDown from failure

    def ask(self, keys: tuple[str, ...], *what: Any) -> "asyncio.Future[Said]":
        """Ask one question of SCRIPT; the future brings the answer or ValkeyDown."""
        question = Question(keys, what)
        self.queue.append(question)
        if self.task is None:
            self.task = asyncio.create_task(self._work())
        return question.answer

    async def _work(self) -> None:
        """Ask what waits, together, until nothing does."""
        queue = self.queue
        try:
            while queue:
                asked = [queue.popleft() for _ in range(min(len(queue), AT_ONCE))]
                await self._ask(asked)
        finally:
            self.task = None

    async def _ask(self, asked: Sequence[Question]) -> None:
        try:
            answers = await self.run(lambda client: self._evaluated(client, asked))
        except ValkeyDown as down:
            for question in asked:
                if not question.answer.done():
                    question.answer.set_exception(ValkeyDown(str(down)))
                    question.answer.exception()  # who asked may be gone
            return
        for question, said in zip(asked, answers, strict=True):
            if not question.answer.done():
                question.answer.set_result(said)

    async def _evaluated(self, client: Redis, asked: Sequence[Question]) -> list[Said]:
        if self.script is None or self.script.registered_client is not client:
            self.script = client.register_script(SCRIPT)
        keys = [key for question in asked for key in question.keys]
        arguments = [argument for question in asked for argument in question.what]
        text, *found = cast("list[bytes]", await self.script(keys=keys, args=arguments))
        numbers = [int(number) for number in text.split()]
        return [
            Said(left, wait_ms, found[place - 1] if place else None)
            for left, wait_ms, place in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        ]

    async def alive(self) -> bool:
        """Return whether Valkey answers now."""

        async def ping(client: Redis) -> bool:
            return bool(cast("object", await client.execute_command("PING")))

        try:
            return await self.run(ping)
        except ValkeyDown:
            return False
