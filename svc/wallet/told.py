"""What the wallet told the others, compared with the ledger: each event an entry's, once.

Of the stream only what it still keeps can be compared; of older transfers nothing is said.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import bodies
from svc.wallet.announcements import retold
from svc.wallet.contract import BALANCE_CHANGED, BalanceChanged
from svc.wallet.invariants import ENTRY_WITHOUT_EVENT, EVENT_WITHOUT_ENTRY

AT_ONCE = 1_000
FETCH_S = 10
CLOCKS_APART = timedelta(minutes=1)
COLUMNS = (
    "source", "event_id", "transfer_id", "user_id", "kind", "currency", "amount", "cash", "bonus",
    "held", "reference",
)  # fmt: skip
MAKE_TABLE = """
    CREATE TEMP TABLE told (source text, event_id text, transfer_id uuid, user_id uuid, kind text,
        currency text, amount bigint, cash bigint, bonus bigint, held bigint, reference text)
"""
"""Events: told before the ledger was read, waiting to be told in it, or told later."""
WAIT_NO_MORE = """
    DELETE FROM told WHERE source = 'waiting' AND EXISTS (
        SELECT FROM told AS out WHERE out.event_id = told.event_id AND out.source <> 'waiting')
"""
WITHOUT_ENTRY = """
    SELECT (SELECT count(*) FROM told LEFT JOIN transfer
            ON transfer.id = told.transfer_id AND outcome = 'applied'
        WHERE (told.user_id, told.kind, told.currency, told.amount, told.cash, told.bonus,
                told.held, told.reference) IS DISTINCT FROM (transfer.user_id, transfer.kind,
                transfer.currency, cash_change + bonus_change, cash_after, bonus_after,
                held_after, coalesce(transfer.reference, ''))
            AND NOT (source = 'later' AND transfer.id IS NULL))
        + (SELECT count(*) FROM (SELECT FROM told GROUP BY transfer_id HAVING count(*) > 1) AS t)
"""
WITHOUT_EVENT = """
    SELECT count(*) FROM transfer LEFT JOIN told ON told.transfer_id = transfer.id
    WHERE outcome = 'applied' AND decided_at >= $1 AND told.transfer_id IS NULL
        AND (cash_change, bonus_change, held_change) <> (0, 0, 0)
"""
SUBJECT = BALANCE_CHANGED.subject
Told = tuple[object, ...]
Source = Literal["before", "waiting", "later"]
decode = msgspec.json.Decoder(CloudEvent[BalanceChanged]).decode


class Listener:
    """Reads the stream of balances into a table beside the ledger, once from its begin on."""

    def __init__(self, connection: Any, jetstream: JetStreamContext) -> None:
        """Prepare; the connection gets a temporary table."""
        self.connection = connection
        self.jetstream = jetstream
        self.next = 1
        self.since: datetime | None = None

    async def listen(self) -> None:
        """Read what was told so far; from now on the ledger may be looked at."""
        await self.connection.execute(MAKE_TABLE)
        state = (await self.jetstream.stream_info(BALANCE_CHANGED.stream)).state
        whole = state.first_seq <= 1
        first = await self._read("before")
        if not whole:
            self.since = first + CLOCKS_APART if first else datetime.max.replace(tzinfo=UTC)
        self.next = max(self.next, state.last_seq + 1)

    async def compare(self, since: datetime) -> dict[str, int]:
        """Return how many events lack their entry, and entries since an instant their event.

        To be called in the transaction that reads the ledger, after `listen`.
        """
        waiting = await self.connection.fetch(
            "SELECT event_id, body, events FROM mesh_outbox WHERE subject = $1", SUBJECT
        )
        for row in waiting:
            told = [row["body"]]
            if row["events"] is not None:
                parcels = await retold(self.connection, str(row["event_id"]), row["body"])
                told = [body for parcel in parcels for body in bodies(parcel.body)]
            await self._keep([of(body, "waiting") for body in told])
        await self._read("later")
        await self.connection.execute(WAIT_NO_MORE)
        if self.since is not None:
            since = max(since, self.since)
        return {
            EVENT_WITHOUT_ENTRY: await self.connection.fetchval(WITHOUT_ENTRY),
            ENTRY_WITHOUT_EVENT: await self.connection.fetchval(WITHOUT_EVENT, since),
        }

    async def _read(self, source: Source) -> datetime | None:
        """Read to the end of the stream; return when its first event was stored."""
        subscription = await self.jetstream.pull_subscribe(
            SUBJECT,
            stream=BALANCE_CHANGED.stream,
            config=ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.next,
            ),
        )
        first: datetime | None = None
        made = await subscription.consumer_info()
        try:
            left = made.num_pending or 0
            while left:
                messages = await subscription.fetch(min(left, AT_ONCE), timeout=FETCH_S)
                first = first or messages[0].metadata.timestamp
                told = [of(body, source) for one in messages for body in bodies(one.data)]
                await self._keep(told)
                left = messages[-1].metadata.num_pending
                self.next = messages[-1].metadata.sequence.stream + 1
        finally:
            await subscription.unsubscribe()
            # The server would keep it for a while, and whoever looks would wonder whose it is.
            await self.jetstream.delete_consumer(BALANCE_CHANGED.stream, made.name)
        return first

    async def _keep(self, events: list[Told]) -> None:
        await self.connection.copy_records_to_table("told", records=events, columns=COLUMNS)


def of(body: bytes, source: Source) -> Told:
    """Return an event as a row of the table; one that is none of ours has no transfer."""
    try:
        event = decode(body)
    except msgspec.DecodeError:
        return (source, *[None] * (len(COLUMNS) - 1))
    data = event.data
    return (
        source, event.id, data.transfer_id, data.user_id, data.kind, data.currency, data.amount,
        data.cash, data.bonus, data.held, data.reference,
    )  # fmt: skip
