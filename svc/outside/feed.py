"""The odds feed's voice: sends messages to the platform, plays matches, keeps alive, replays."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import httpx
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from msgspec import Struct, structs

from svc.outside import uof
from svc.outside.amqp import Exchange
from svc.outside.delivery import Count, Faults
from svc.outside.feed_memory import Memory
from svc.outside.match import Plan, Step, script
from svc.outside.match_incidents import dramatic
from svc.outside.server import Rejected

PORT = 9103
EXCHANGE, VHOSTS = "unifiedfeed", "/unifiedfeed/"
FIXTURE = "fixtures_fixture"
"""A document of the API, which no exchange carries."""
UNREADABLE_KEY = "hi.-.live.raw.-.-.-.-"
ALIVE_S = 10.0
# Product -> its name in URLs, its scope and how many minutes back it can replay.
PRODUCTS = {
    1: ("liveodds", "live", 600),
    3: ("pre", "prematch", 4320),
    14: ("codds", "live", 4320),
}
ATTEMPTS_MAX = 8
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0
ATTEMPT_TIMEOUT_S = 10.0
SENT_KEPT_MAX = 10_000
# A shuffled match sends by so many messages, so many at the same time, this part of them twice.
SHUFFLED_MAX, AT_ONCE, DOUBLED = 12, 4, 0.3
ANSWER_KEPT_CHARACTERS = 2000
# So many recoveries of single events are allowed in so many seconds.
EVENT_LIMITS = ((100, 600), (300, 3600))
# A match without a given start kicks off so soon; one that waits to be told, by this at the latest.
START_S, PAUSED_START_S = 3, 3600


class Settings(Struct, frozen=True, kw_only=True):
    """What the feed must be told; the token is for both directions."""

    url: str
    token: str
    port: int = PORT
    alive_s: float = ALIVE_S
    amqp_port: int | None = None
    """Where readers find the messages of the feed, which are not posted then; 0 = a free port."""


class FeedFaults(Faults, kw_only=True):
    """The common faults (of which the feed knows duplicate, drop and delay_ms) and its own."""

    bad_token: bool = False
    """Send with a wrong access token."""
    silent: tuple[int, ...] = ()
    """These producers send no alive, so a client must take them for down after 20 s."""
    unsubscribed: tuple[int, ...] = ()
    """These producers' alives say subscribed=0: a client must recover."""


class Sent(Struct, kw_only=True):
    """One message, when it was sent (Unix ms), and what the platform answered (0 = nothing)."""

    type: str
    event_id: str | None
    at: int
    xml: str
    status: int = 0
    answer: str = ""
    attempts: int = 0


class Game(Struct, kw_only=True):
    """How far a match has been played."""

    event_id: str
    state: str = "playing"
    phase: str = "before"
    minute: Count = 0
    score: tuple[int, int] = (0, 0)
    messages: int = 0


class Feed:
    """The feed's memory and its sender; nothing survives the process."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Start with nothing said; `clock` gives Unix seconds."""
        self.settings = settings
        self.clock = clock
        self.faults = FeedFaults()
        self.memory = Memory()
        self.sent: deque[Sent] = deque(maxlen=SENT_KEPT_MAX)
        self.games: dict[str, Game] = {}
        self._last_ms = 0
        self._event_recoveries: list[float] = []
        self._nodes: dict[str, str] = {}
        self._out: set[int] = set()
        self._gates: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.exchange: Exchange | None = None
        if settings.amqp_port is not None:
            self.exchange = Exchange(EXCHANGE, settings.token, VHOSTS, settings.amqp_port)
        self._client = httpx.AsyncClient(timeout=ATTEMPT_TIMEOUT_S, trust_env=False)

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds, the feed's unit."""
        return int(self.clock() * 1000)

    async def start(self) -> None:
        """Begin to send alives, and to listen for readers if there is an exchange."""
        if self.exchange is not None:
            await self.exchange.start()
        self._spawn(self._keep_alive())

    async def close(self) -> None:
        """Stop playing and hang up."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.exchange is not None:
            await self.exchange.stop()
        await self._client.aclose()

    async def say(self, document: uof.Document) -> Sent:
        """Send a message; a timestamp that is not given is now."""
        return await self._send(self._stamped(document))

    def _stamped(self, document: uof.Document) -> ET.Element:
        """Build a message, with the time of now if it has none, and remember it as said."""
        if not isinstance(document, uof.Fixture) and document.timestamp is None:
            # Clients put messages in order by their timestamps, so no two may be the same.
            self._last_ms = max(self.now_ms(), self._last_ms + 1)
            document = structs.replace(document, timestamp=self._last_ms)
        tree = uof.element(document)
        self.memory.remember(tree)
        return tree

    async def _send(self, tree: ET.Element) -> Sent:
        return await self._post(
            tree.tag, tree.get("event_id"), uof.to_xml(tree), alive=tree.tag == "alive"
        )

    async def say_raw(self, xml: str) -> Sent:
        """Send text as it is; what isn't good XML goes out too, it just isn't remembered."""
        kind, event_id = "raw", None
        with suppress(ET.ParseError, DefusedXmlException, ValueError):
            tree = fromstring(xml)
            kind, event_id = tree.tag, tree.get("event_id")
            self.memory.remember(tree)
        return await self._post(kind, event_id, xml.encode())

    def play(self, plan: Plan) -> Game:
        """Begin to play a match; raises Rejected 409 while the same one is being played."""
        known = self.games.get(plan.event_id)
        if known is not None and known.state in {"playing", "paused"}:
            raise Rejected(409, f"{plan.event_id} is being played")
        game = Game(event_id=plan.event_id)
        self.games[plan.event_id] = game
        self._gates[plan.event_id] = asyncio.Event()
        self._spawn(self._play(plan, game))
        return game

    def proceed(self, event_id: str) -> Game:
        """Let a paused match go on; raises Rejected 404 or 409."""
        if event_id not in self.games:
            raise Rejected(404, f"{event_id} has not been played")
        if self.games[event_id].state != "paused":
            raise Rejected(409, f"{event_id} is {self.games[event_id].state}")
        self._gates[event_id].set()
        return self.games[event_id]

    def recover(
        self,
        product: int,
        request_id: int | None,
        messages: Iterator[ET.Element],
        node: int | None = None,
    ) -> None:
        """Send messages again with the request's id, then say that the snapshot is complete.

        The exchange carries them for the node that asked, if it told its number.
        """
        if node is not None:
            self._nodes[str(request_id)] = str(node)
        self._spawn(self._recover(product, request_id, messages))

    def count_event_recovery(self) -> None:
        """Count a recovery of a single event; raises Rejected 429 beyond what is allowed."""
        now = self.clock()
        times = [at for at in self._event_recoveries if at > now - EVENT_LIMITS[-1][1]]
        for most, within_s in EVENT_LIMITS:
            if sum(at > now - within_s for at in times) >= most:
                raise Rejected(429, f"At most {most} events in {within_s} seconds.")
        self._event_recoveries = [*times, now]

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_alive(self) -> None:
        while True:
            for product in PRODUCTS:
                if product not in self.faults.silent and product not in self._out:
                    subscribed = 0 if product in self.faults.unsubscribed else 1
                    self._spawn(self._alive(product, subscribed))
            await asyncio.sleep(self.settings.alive_s)

    async def _alive(self, product: int, subscribed: int) -> None:
        await self.say(uof.Alive(product=product, subscribed=1 if subscribed else 0))

    async def _recover(
        self, product: int, request_id: int | None, messages: Iterator[ET.Element]
    ) -> None:
        for message in messages:
            if request_id is not None:
                message.set("request_id", str(request_id))
            xml = uof.to_xml(message)
            await self._post(message.tag, message.get("event_id"), xml)
        await self.say(uof.SnapshotComplete(product=product, request_id=request_id))

    async def _play(self, plan: Plan, game: Game) -> None:
        try:
            start_s = PAUSED_START_S if "kick_off" in plan.pause_before else START_S
            now = datetime.fromtimestamp(self.clock(), UTC)
            start = plan.start or now + timedelta(seconds=start_s)
            fixture = uof.Fixture(
                event_id=plan.event_id,
                start_time=start.isoformat(timespec="seconds"),
                generated_at=now.isoformat(timespec="seconds"),
            )
            fixture.home.name, fixture.away.name = plan.home, plan.away
            await self.say(fixture)
            await self._play_steps(plan, game, start)
            game.state = "finished"
        except Exception:
            game.state = "failed"
            raise

    async def _play_steps(self, plan: Plan, game: Game, start: datetime) -> None:
        draw = random.Random(f"{plan.seed} order")  # noqa: S311 - a script, not a secret
        marks: dict[str, int] = {}
        held: list[ET.Element] = []
        for step in dramatic(plan) if plan.incidents else script(plan):
            if step.phase != game.phase or step.outage or len(held) >= SHUFFLED_MAX:
                await self._send_shuffled(held, draw)
            await self._wait_for(step, plan, game, start)
            if step.outage:
                await self._outage(plan.product, step.outage)
            message = step.message
            if step.window and isinstance(message, uof.BetCancel | uof.RollbackBetCancel):
                begins, ends = (marks[mark] for mark in step.window)
                message = structs.replace(message, start_time=begins, end_time=ends)
            tree = self._stamped(message)
            marks[step.mark] = int(tree.get("timestamp", "0"))
            if plan.shuffle:
                held.append(tree)
            elif message.product not in self._out:
                await self._send(tree)
            game.minute, game.score = step.minute, step.score
            game.messages += 1
        await self._send_shuffled(held, draw)

    async def _outage(self, product: int, change: str) -> None:
        """Let a producer fall silent; or be heard again, without our subscription."""
        if change == "begins":
            self._out.add(product)
            return
        self._out.discard(product)
        await self.say(uof.Alive(product=product, subscribed=0))

    async def _send_shuffled(self, held: list[ET.Element], draw: random.Random) -> None:
        """Send what was held back, at the same time, in any order, and some of it twice."""
        lost = {str(product) for product in self._out}
        sent = [each for each in held if each.get("product") not in lost]
        held.clear()
        sent += [each for each in sent if draw.random() < DOUBLED]
        draw.shuffle(sent)
        for number in range(0, len(sent), AT_ONCE):
            await asyncio.gather(*(self._send(each) for each in sent[number : number + AT_ONCE]))

    async def _wait_for(self, step: Step, plan: Plan, game: Game, start: datetime) -> None:
        """Wait for a step's time, or for `proceed` when its phase is to be paused before."""
        begins = step.phase != game.phase
        game.phase = step.phase
        if begins and step.phase in plan.pause_before:
            game.state = "paused"
            await self._gates[plan.event_id].wait()
            self._gates[plan.event_id].clear()
            game.state = "playing"
        elif begins and step.phase == "kick_off":
            await asyncio.sleep(max(start.timestamp() - self.clock(), 0))
        await asyncio.sleep((step.minute - game.minute) * 60 / plan.speed)

    async def _post(
        self, kind: str, event_id: str | None, xml: bytes, *, alive: bool = False
    ) -> Sent:
        """POST one message, again after a 5xx or no answer, and tell how it went.

        An alive is sent once, for an old one would be a lie, and uses up no fault.
        """
        sent = Sent(
            type=kind, event_id=event_id, at=self.now_ms(), xml=xml.decode(errors="replace")
        )
        self.sent.append(sent)
        await asyncio.sleep(self.faults.delay_ms / 1000)
        if not alive and self.faults.take("drop"):
            sent.answer = "dropped"
            return sent
        for _ in range(2 if not alive and self.faults.take("duplicate") else 1):
            pause_s = FIRST_RETRY_S
            while not await self._attempt(sent, xml) and not alive and sent.attempts < ATTEMPTS_MAX:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LAST_RETRY_S)
        return sent

    def _key(self, xml: bytes) -> str:
        """Return under which key the exchange carries a message, be it good XML or not."""
        try:
            node = self._nodes.get(fromstring(xml).get("request_id", ""), "-")
            return uof.routing_key(xml, node=node)
        except (ET.ParseError, DefusedXmlException, ValueError):
            return UNREADABLE_KEY

    async def _attempt(self, sent: Sent, xml: bytes) -> bool:
        if self.exchange is not None and sent.type != FIXTURE:
            sent.attempts += 1
            queues = self.exchange.publish(self._key(xml), xml)
            sent.status, sent.answer = 202, f"in {queues} queues"
            return True
        token = self.settings.token + ("-forged" if self.faults.bad_token else "")
        headers = {"content-type": "application/xml; charset=utf-8", "x-access-token": token}
        sent.attempts += 1
        try:
            answer = await self._client.post(self.settings.url, content=xml, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            sent.status, sent.answer = 0, type(error).__name__
            return False
        sent.status, sent.answer = answer.status_code, answer.text[:ANSWER_KEPT_CHARACTERS]
        return not answer.is_server_error
