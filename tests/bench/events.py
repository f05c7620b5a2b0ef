"""Two services of the benchmark's own: one tells events, the other hears them, in two lanes."""

import time
from array import array

from msgspec import Struct

from svc.mesh.context import Context
from svc.mesh.contract import LANE_OF_TOPIC, Contract, Event, Lane
from svc.mesh.database import Tx
from svc.mesh.envelope import CloudEvent
from svc.mesh.service import Hear, Service

TELLING = "benchteller"
HEARING = "benchhearer"
AGGREGATES = 500
"""The events are about so many things; those of one are worked on in their order."""


class Told(Struct, frozen=True, kw_only=True):
    """A body of the usual size."""

    number: int
    user_id: str
    amount: int
    currency: str
    reference: str


LANE_OF_TOPIC["benchhigh"] = Lane.HIGH
LANE_OF_TOPIC["benchlow"] = Lane.LOW
HIGH = Event("BenchHighToldEvent", "benchhigh", Told, "Something that nobody wants to wait for.")
LOW = Event("BenchLowToldEvent", "benchlow", Told, "Something that has time.")
EVENTS = {"high": HIGH, "low": LOW}


class Effects:
    """When the effect of each event was committed: pairs of number and unix seconds."""

    def __init__(self) -> None:
        """Nothing was heard."""
        self.seen = {"high": array("d"), "low": array("d")}

    def note(self, lane: str, number: int) -> None:
        """Keep that an effect was committed now."""
        self.seen[lane].extend((number, time.time()))


def telling() -> Service:
    """Return the service that tells."""
    contract = Contract(name=TELLING, version="1.0.0", purpose="Tells.", publishes=(HIGH, LOW))
    return Service(contract, database=True)


def hearing(effects: Effects) -> Service:
    """Return the service that hears: the effect of an event is a row."""
    contract = Contract(name=HEARING, version="1.0.0", purpose="Hears.")
    hears: tuple[Hear[Struct], ...] = (Hear(HIGH), Hear(LOW))
    service = Service(contract, hears=hears, database=True)

    async def heard(lane: str, event: CloudEvent[Told], tx: Tx) -> None:
        told = event.data
        await tx.execute(
            "INSERT INTO effect (lane, number, user_id, amount) VALUES ($1, $2, $3, $4)",
            lane,
            told.number,
            told.user_id,
            told.amount,
        )

        async def committed() -> None:
            effects.note(lane, told.number)

        tx.after_commit(committed)

    @service.hears(HIGH)
    async def high(event: CloudEvent[Told], tx: Tx, _: Context) -> None:
        await heard("high", event, tx)

    @service.hears(LOW)
    async def low(event: CloudEvent[Told], tx: Tx, _: Context) -> None:
        await heard("low", event, tx)

    return service


def services() -> tuple[Service, Service]:
    """Return both, for the broker's permissions, streams and consumers."""
    return telling(), hearing(Effects())
