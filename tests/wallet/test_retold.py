"""What a crash leaves in the outbox is told from the ledger, and is what would have been told."""

import asyncio

import msgspec
import pytest

from svc.mesh.clock import new_id
from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import Parcel, bodies, packed
from svc.wallet import contract as wallet
from svc.wallet.announcements import retold
from svc.wallet.contract import BALANCE_CHANGED, BalanceChanged
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.wallet.player import Player, item_of

decode = msgspec.json.Decoder(CloudEvent[BalanceChanged]).decode


Heard = tuple[bytes, dict[str, str]]
"""Body and headers of a message."""


async def told(operator: Operator, player: Player, count: int) -> list[Heard]:
    """Return the messages that hold so many events of a player."""
    subscription = await operator.connection.jetstream().subscribe(
        BALANCE_CHANGED.subject, ordered_consumer=True
    )
    found: list[Heard] = []
    events = 0
    async with asyncio.timeout(10):
        while events < count:
            message = await subscription.next_msg(timeout=10)
            mine = [one for one in bodies(message.data) if decode(one).subject == player.user_id]
            if mine:
                found.append((message.data, message.headers or {}))
                events += len(mine)
    await subscription.unsubscribe()
    return found


def recipe(events: list[CloudEvent[BalanceChanged]]) -> bytes:
    """Return what the outbox kept of events."""
    return msgspec.msgpack.encode(
        [(e.data.transfer_id, e.correlationid, e.causationid, e.traceparent) for e in events]
    )


async def retell(platform: Platform, row_id: str, body: bytes) -> list[Parcel]:
    async with platform.database("wallet") as connection:
        return await retold(connection, row_id, body)


async def test_many_transfers_are_told_in_one_message_and_retold_the_same(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    await ann.batch(*(item_of("deduct_balance", ann.transfer(1, "bet")) for _ in range(40)))

    (_, _), (body, headers) = await told(operator, ann, 41)

    events = [decode(one) for one in bodies(body)]
    assert headers["Content-Type"] == "application/cloudevents-batch+json"
    assert [event.data.cash for event in events] == list(range(99, 59, -1))
    row_id = headers["Nats-Msg-Id"]
    [parcel] = await retell(platform, row_id, recipe(events))
    assert (parcel.message_id, parcel.body) == (row_id, body)


async def test_few_transfers_are_told_in_messages_of_their_own_and_retold_the_same(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    await ann.batch(*(item_of("credit_balance", ann.transfer(5, "prize")) for _ in range(3)))

    _, *messages = await told(operator, ann, 4)

    events = [decode(body) for body, _ in messages]
    assert [event.data.cash for event in events] == [105, 110, 115]
    retold_ones = await retell(platform, events[0].id, recipe(events))
    assert [(one.message_id, one.body) for one in retold_ones] == [
        (event.id, body) for event, (body, _) in zip(events, messages, strict=True)
    ]


async def test_rows_of_a_release_that_kept_events_whole_are_told_as_they_are(
    ann: Player, platform: Platform
) -> None:
    del ann
    whole = [Parcel(BALANCE_CHANGED.subject, b'{"id":"1"}', new_id()) for _ in range(20)]

    assert await retell(platform, new_id(), packed(whole)) == whole


async def test_what_the_relay_did_not_keep_is_told_from_the_ledger(
    ann: Player, operator: Operator, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    [runtime] = services.running["wallet"].runtimes

    def keep_nothing(*_: object) -> None:
        """Forget at once, as a process does that dies."""

    monkeypatch.setattr(runtime.relay, "keep", keep_nothing)

    receipts = await asyncio.gather(*(ann.take(1) for _ in range(30)))

    heard = await operator.all_heard(
        wallet.BALANCE_CHANGED, lambda data: data.user_id == ann.user_id, count=31
    )
    assert {event.data.transfer_id for event in heard[1:]} == {one.transfer_id for one in receipts}
