"""Everything that must hold once traffic has stopped, as a list of what does not."""

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from nats.js.api import AckPolicy, ConsumerConfig

from svc.demo.client import until
from svc.mesh.envelope import CloudEvent
from svc.mesh.errors import RemoteBug, Unavailable
from svc.mesh.parcels import bodies
from svc.wallet import contract as wallet
from svc.wallet.contract import BALANCE_CHANGED, BalanceChanged
from tests.bench.acknowledged import compared
from tests.support.mesh import Operator
from tests.wallet_faults.load import Load
from tests.wallet_faults.stand import Stand

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = object

SHOWN = 5
AT_ONCE = 500


async def broken(stand: Stand, database: str, operator: Operator, load: Load) -> list[str]:
    """Return all that is wrong: promises, answers, the ledger itself, and the stream.

    Each begins with who found it: `promise`, `answer`, `audit` or `event`.
    """
    load.log.write()
    found = [f"answer: {wrong}" for wrong in load.wrong]
    async with stand.database(database) as connection:
        count, promises = await compared(connection, load.log.path)
        assert count, "nobody was told anything"
        found += [f"promise: {promise}" for promise in promises]
        # The planner knows nothing yet of tables that were empty a moment ago.
        await connection.execute("ANALYZE")
        found += [f"audit: {one}" for one in await audited(operator)]
        found += [f"event: {one}" for one in await untold(connection, operator)]
    return found


async def audited(operator: Operator) -> list[str]:
    """Return the invariants that the wallet's own audit finds broken."""
    try:
        report = await operator.call(wallet.AUDIT, wallet.Audit(), wait_s=20)
    except (RemoteBug, Unavailable) as failure:
        return [f"no answer: {failure}"]
    names = [f"{name} ({count})" for name, count in report.violations.items() if count]
    return names if names or report.healthy else ["not healthy"]


async def untold(connection: Connection, operator: Operator) -> list[str]:
    """Return the transfers without their event, and the events without their transfer."""

    async def published() -> bool:
        return not await connection.fetchval("SELECT count(*) FROM mesh_outbox")

    await until("all events are in the stream", published, within_s=30)
    kept = Counter(
        tuple(row)
        for row in await connection.fetch(
            """
            SELECT id::text, user_id::text, kind, currency, cash_change + bonus_change,
                cash_after, bonus_after, held_after, reference
            FROM transfer
            WHERE outcome = 'applied' AND (cash_change, bonus_change, held_change) <> (0, 0, 0)
            """
        )
    )
    events = await published_events(operator)
    told = Counter(told_of(event.data) for event in events)
    ids = Counter(event.id for event in events)
    return [
        *_named("no event of", kept - told),
        *_named("an event, but no transfer, of", told - kept),
        *(f"two events with the id {one}" for one, count in ids.items() if count > 1),
    ]


async def published_events(operator: Operator) -> list[CloudEvent[BalanceChanged]]:
    """Return all events of changed balances, from the stream's first to its last."""
    decode = msgspec.json.Decoder(CloudEvent[BalanceChanged]).decode
    jetstream = operator.connection.jetstream()
    last = (await jetstream.stream_info("WALLET")).state.last_seq
    found: list[CloudEvent[BalanceChanged]] = []
    if not (await jetstream.stream_info("WALLET")).state.messages:
        return found
    subscription = await jetstream.pull_subscribe(
        BALANCE_CHANGED.subject, stream="WALLET", config=ConsumerConfig(ack_policy=AckPolicy.NONE)
    )
    seen = 0
    while seen < last:
        for message in await subscription.fetch(AT_ONCE, timeout=10):
            found += [decode(body) for body in bodies(message.data)]
            seen = message.metadata.sequence.stream
    await subscription.unsubscribe()
    return found


def told_of(data: BalanceChanged) -> tuple[object, ...]:
    """Return what an event says."""
    return (
        data.transfer_id, data.user_id, data.kind, data.currency, data.amount, data.cash,
        data.bonus, data.held, data.reference,
    )  # fmt: skip


def _named(what: str, found: Counter[tuple[object, ...]]) -> list[str]:
    sentences = [f"{what} {one}" for one in list(found)[:SHOWN]]
    more = found.total() - len(sentences)
    return [*sentences, f"and {more} more"] if more > 0 else sentences
