"""Two services of the tests' own, on a broker whose permissions come from their declarations.

They borrow the names of two real services (`wallet` answers, `casino` asks and hears), because
keys and databases exist for those; nothing else of the real ones is here.
"""

import asyncio
import itertools
from dataclasses import dataclass, field

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Call, Contract, Event, Hedge
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import Conflict, Refused, Unavailable
from svc.mesh.runtime import Runtime
from svc.mesh.service import CallHandler, Extras, Hear, Service
from svc.mesh.settings import Settings
from svc.platform.installation import Installation


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request that says how to treat it."""

    text: str
    sleep_s: float = 0.0


class Answer(Struct, frozen=True, kw_only=True):
    """What was heard, who asked, and how long the callee thinks it has."""

    text: str
    caller: str
    left_s: float


class Happened(Struct, frozen=True, kw_only=True):
    """Something happened."""

    number: int
    mood: str = "good"


class TooMuch(Refused):
    """That was too much."""

    name = "too-much"
    status = 422


def settings_of(installation: Installation, **own: str) -> Settings:
    """Return the settings of a service on these servers, and its own."""
    return Settings({**installation.values, "BETMESH_RUN": str(installation.run_dir), **own})


def call(
    verb: str,
    workers: int = 8,
    callers: tuple[str, ...] = ("casino",),
    *,
    batchable: bool = False,
    alone: bool = False,
    idempotent: bool = False,
    hedge: Hedge | None = None,
    partition_by: str = "",
) -> Call[Ask, Answer]:
    """Return one of the answering service's calls."""
    return Call(
        f"rpc.wallet.v1.{verb}", Ask, Answer, "A test call.", callers=callers, refuses=(TooMuch,),
        deadline_ms=1_000, workers=workers, batchable=batchable, alone=alone, idempotent=idempotent,
        hedge=hedge, partition_by=partition_by,
    )  # fmt: skip


NUMBERS = itertools.count(1)
"""Numbers of events, none twice in a run."""
PATIENT_MS = 15_000
"""A deadline longer than a busy machine needs: for tests that are not about time."""
ECHO = call("echo")
NARROW = call("narrow", workers=1)
NARROW_ALONE = call("narrow_alone", workers=1, alone=True)
REFUSE = call("refuse")
BREAK = call("break")
MANY = call("many", batchable=True)
DIVIDED = call("divided", batchable=True, partition_by="text")
SECRET = call("secret", callers=())
FLAKY = call("flaky", idempotent=True)
FLAKY_MANY = call("flaky_many", batchable=True, idempotent=True)
FLAKY_ONCE = call("flaky_once")
READ = call("read", idempotent=True, hedge=Hedge(after_ms=50))
HAPPENED = Event("HappenedEvent", "wallet", Happened, "Something happened.")
NEVER_DECLARED = Event("NeverDeclaredEvent", "wallet", Happened, "Nobody declares this.")
SIDE = Extras(
    streams=(
        {"name": "SIDE", "subjects": ["side.>"], "storage": "file", "retention": "limits",
         "discard": "old", "num_replicas": 1, "allow_direct": True},
    ),
    consumers=(
        {"stream_name": "SIDE",
         "config": {"durable_name": "casino", "name": "casino", "ack_policy": "explicit",
                    "ack_wait": 600_000_000_000, "max_deliver": -1}},
    ),
    publishes=(
        "side.>", "$JS.API.CONSUMER.MSG.NEXT.SIDE.casino", "$JS.ACK.SIDE.casino.>",
        "$JS.API.CONSUMER.INFO.SIDE.casino",
        "$JS.API.DIRECT.GET.SIDE.side.>",
    ),
)  # fmt: skip
"""Messages that are no events, which the asking service reads; nothing comes again by itself."""
ANSWERING = Contract(
    name="wallet", version="1.0.0", purpose="Answers.",
    answers=(
        ECHO, NARROW, NARROW_ALONE, REFUSE, BREAK, MANY, DIVIDED, SECRET, FLAKY, FLAKY_MANY,
        FLAKY_ONCE, READ,
    ),
    publishes=(HAPPENED,),
)  # fmt: skip
ASKING = Contract(name="casino", version="1.0.0", purpose="Asks.")


@dataclass
class Memory:
    """What the handlers did, for the tests to look at."""

    served: list[str] = field(default_factory=list[str])
    cancelled: list[str] = field(default_factory=list[str])
    ill: bool = True
    attempts: list[int] = field(default_factory=list[int])
    effects: list[int] = field(default_factory=list[int])
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event = field(default_factory=asyncio.Event)


def answering(memory: Memory) -> Service:
    """Return the service that answers and publishes."""
    service = Service(ANSWERING, database=True, cache=True)

    async def echo(request: Ask, context: Context) -> Answer:
        memory.served.append(request.text)
        memory.serving.set()
        if request.sleep_s:
            try:
                await asyncio.sleep(request.sleep_s)
            except asyncio.CancelledError:
                memory.cancelled.append(request.text)
                raise
        return Answer(text=request.text, caller=context.caller, left_s=context.remaining(99))

    async def refuse(request: Ask, _: Context) -> Answer:
        raise TooMuch("no more than ten", limit=10, text=request.text)

    async def bug(_: Ask, __: Context) -> Answer:
        raise ZeroDivisionError("a secret of the inside")

    service.answers(ECHO)(echo)
    service.answers(NARROW)(echo)
    service.answers(NARROW_ALONE)(echo)
    service.answers(SECRET)(echo)

    async def many(request: Ask, context: Context) -> Answer:
        if request.text == "too much":
            raise TooMuch("one of many", text=request.text)
        if request.text == "held":
            await memory.hold.wait()
        return await echo(request, context)

    service.answers(MANY)(many)
    service.answers(DIVIDED)(many)

    moody(service, memory, echo)
    service.answers(REFUSE)(refuse)
    service.answers(BREAK)(bug)
    return service


def moody(service: Service, memory: Memory, echo: CallHandler[Ask, Answer]) -> None:
    """Answer the calls that are unavailable or slow now and then, as their text says."""

    async def flaky(request: Ask, context: Context) -> Answer:
        answer = await echo(request, context)
        first = memory.served.count(request.text) == 1
        if memory.ill and (request.text == "never" or (request.text == "once" and first)):
            raise Unavailable("not now")
        return answer

    async def read(request: Ask, context: Context) -> Answer:
        answer = await echo(request, context)
        if request.text == "held" and memory.served.count("held") == 1:
            await memory.hold.wait()
        return answer

    service.answers(FLAKY)(flaky)
    service.answers(FLAKY_MANY)(flaky)
    service.answers(FLAKY_ONCE)(flaky)
    service.answers(READ)(read)


def asking(memory: Memory) -> Service:
    """Return the service that asks and hears."""
    service = Service(
        ASKING,
        hears=(Hear(HAPPENED, only=lambda data: data.mood != "indifferent"),),
        calls=(
            ECHO,
            NARROW,
            NARROW_ALONE,
            REFUSE,
            BREAK,
            MANY,
            DIVIDED,
            FLAKY,
            FLAKY_MANY,
            FLAKY_ONCE,
            READ,
        ),
        database=True,
        extras=SIDE,
    )

    @service.hears(HAPPENED)
    async def happened(event: CloudEvent[Happened], tx: Tx, _: Context) -> None:
        memory.attempts.append(event.data.number)
        await tx.execute(
            "INSERT INTO effect (number, event_id) VALUES ($1, $2)", event.data.number, event.id
        )
        if event.data.mood == "poison":
            raise ZeroDivisionError("cannot be worked on")
        if event.data.mood == "refused":
            raise Conflict("this event asks for what a rule forbids")
        if event.data.mood == "later" and memory.attempts.count(event.data.number) < 2:
            raise Unavailable("not now")
        if event.data.mood == "slow":
            await memory.hold.wait()
        memory.effects.append(event.data.number)

    return service


@dataclass
class Pair:
    """The two services, running, and what their handlers did."""

    answering: Runtime
    asking: Runtime
    memory: Memory
    installation: Installation

    async def effects(self) -> list[int]:
        """Return the committed effects of heard events."""
        async with self.asking.context().transaction() as tx:
            return [row["number"] for row in await tx.fetch("SELECT number FROM effect")]
