"""Tells everybody of balances that moved: an event for each transfer that moved one.

What an event says follows from its transfer, so a row of the outbox only names the transfers and
the work that each was asked in. The events are made when they leave; after a crash in between they
are made from the ledger, and are the same.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from svc.mesh.clock import new_id
from svc.mesh.context import Context
from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import TOGETHER_MAX, Parcel, counted_id, parcels_of, unpacked
from svc.wallet import store
from svc.wallet.book import Record
from svc.wallet.contract import BALANCE_CHANGED, WALLET, BalanceChanged

Decided = tuple[Record, Context]


class Cause(NamedTuple):
    """A transfer, and the piece of work that it was asked in."""

    transfer_id: str
    correlation_id: str
    causation_id: str
    traceparent: str


class Announcement(NamedTuple):
    """A row of the outbox: what it tells of, in order."""

    row_id: str
    told: Sequence[Decided]

    def row(self) -> store.Told:
        """Return it as it is stored."""
        causes = [
            (one.transfer_id, work.correlation_id, work.causation_id, work.traceparent)
            for one, work in self.told
        ]
        return store.Told(self.row_id, msgspec.msgpack.encode(causes), len(causes))

    def parcels(self, at: datetime) -> list[Parcel]:
        """Return its messages; what they tell of was decided at that instant."""
        events = [
            _event(self.row_id, place, one, work, at) for place, (one, work) in enumerate(self.told)
        ]
        return parcels_of(BALANCE_CHANGED, self.row_id, events)


def announced(decided: Iterable[Decided]) -> list[Announcement]:
    """Return the rows that tell of what moved balances."""
    told = [
        one
        for one in decided
        if one[0].user_id and one[0].currency and one[0].kind and one[0].change
    ]
    return [
        Announcement(new_id(), told[begin : begin + TOGETHER_MAX])
        for begin in range(0, len(told), TOGETHER_MAX)
    ]


async def retold(connection: Any, row_id: str, body: bytes) -> list[Parcel]:
    """Return the messages of a row of the outbox, made anew from the ledger."""
    try:
        causes = read_causes(body)
    except msgspec.ValidationError:
        return unpacked(BALANCE_CHANGED.subject, body)  # of a release that kept events whole
    found = await store.decided(connection, [cause.transfer_id for cause in causes])
    events = [
        _event(row_id, place, record, cause, at)
        for place, cause in enumerate(causes)
        for record, at in (found[cause.transfer_id],)
    ]
    return parcels_of(BALANCE_CHANGED, row_id, events)


read_causes = msgspec.msgpack.Decoder(list[Cause]).decode
SOURCE = f"/{WALLET.name}"


def _event(
    row_id: str, place: int, record: Record, cause: Context | Cause, at: datetime
) -> CloudEvent[BalanceChanged]:
    change, after = record.change, record.after
    user_id = record.user_id or ""
    data = BalanceChanged(
        user_id=user_id,
        currency=record.currency or "",
        cash=after.cash,
        bonus=after.bonus,
        held=after.held,
        available=after.cash - after.held,
        transfer_id=record.transfer_id,
        kind=record.kind or "adjustment",
        amount=change.cash + change.bonus,
        reference=record.reference or "",
    )
    return CloudEvent(
        id=counted_id(row_id, place),
        source=SOURCE,
        type=BALANCE_CHANGED.type,
        subject=user_id,
        time=at,
        data=data,
        correlationid=cause.correlation_id,
        causationid=cause.causation_id,
        traceparent=cause.traceparent,
    )
