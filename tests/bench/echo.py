"""Two services that do nothing but answer: what the mesh costs, beside raw NATS."""

import time

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import Call, Contract
from svc.mesh.service import Extras, Service
from svc.mesh.types import Amount, Currency, Id, Reply, Request, ShortText
from svc.mesh.wire import encode

ANSWERING = "benchserver"
ASKING = "benchclient"
RAW = "bench.raw"
"""The subject of the raw echo: a queue subscription, nothing declared, nothing decoded."""
FASTSTREAM = "bench.faststream"
MICRO = "bench.micro"
"""The subject of the endpoint of nats-py's own `nats.micro`."""
MOLECULER = "MOL.>"
"""Moleculer's subjects: it writes the names of nodes and actions into them."""


class Ask(Request, frozen=True, kw_only=True):
    """A body of the usual size, with the usual fields."""

    transfer_id: Id
    amount: Amount
    currency: Currency
    reference: ShortText


class Answer(Reply, frozen=True, kw_only=True):
    """The same again, and who asked."""

    transfer_id: Id
    amount: Amount
    caller: str


ECHO = Call(
    f"rpc.{ANSWERING}.v1.echo", Ask, Answer, "Answer at once.", callers=(ASKING,), idempotent=True,
)  # fmt: skip
ALONE = Call(
    f"rpc.{ANSWERING}.v1.echo_alone", Ask, Answer, "Answer at once, each message one call.",
    callers=(ASKING,), idempotent=True, alone=True,
)  # fmt: skip
TOGETHER = Call(
    f"rpc.{ANSWERING}.v1.echo_together", Ask, Answer, "Answer at once, to many in one message.",
    callers=(ASKING,), idempotent=True, batchable=True,
)  # fmt: skip
WORK = Call(
    f"rpc.{ANSWERING}.v1.work", Ask, Answer, "Compute for a while, then answer.",
    callers=(ASKING,),
)  # fmt: skip
WORK_S = 0.0004
"""How long WORK keeps the processor: this, and not waiting, limits what the service can do."""
SAMPLE = Ask(
    transfer_id="0199b2a4-5e7c-7000-8000-000000000001", amount=300, currency="EUR", reference="bet",
)  # fmt: skip
BODY = encode(SAMPLE)
"""The bytes that the raw echo carries: those of the mesh's request."""


def answering() -> Service:
    """Return the service that answers; its user may also serve the raw and FastStream subjects."""
    answers: tuple[Call[Struct, Struct], ...] = (ECHO, ALONE, TOGETHER, WORK)
    service = Service(
        Contract(name=ANSWERING, version="1.0.0", purpose="Answers.", answers=answers),
        extras=Extras(
            publishes=(f"_INBOX.{ASKING}.>", "$SRV.>", MOLECULER),
            subscribes=(
                f"{RAW} {ANSWERING}",
                f"{FASTSTREAM}.* {ANSWERING}",
                f"{MICRO} {ANSWERING}",
                "$SRV.>",
                MOLECULER,
            ),
        ),
    )

    async def echo(request: Ask, context: Context) -> Answer:
        context.remaining(1.0)
        return Answer(transfer_id=request.transfer_id, amount=request.amount, caller=context.caller)

    async def work(request: Ask, context: Context) -> Answer:
        end = time.perf_counter() + WORK_S
        while time.perf_counter() < end:
            pass
        return await echo(request, context)

    service.answers(ECHO)(echo)
    service.answers(ALONE)(echo)
    service.answers(TOGETHER)(echo)
    service.answers(WORK)(work)
    return service


def asking() -> Service:
    """Return the service that asks."""
    return Service(
        Contract(name=ASKING, version="1.0.0", purpose="Asks."),
        calls=(ECHO, ALONE, TOGETHER, WORK),
        extras=Extras(
            publishes=(RAW, f"{FASTSTREAM}.*", MICRO, MOLECULER), subscribes=(MOLECULER,)
        ),
    )
