"""The audit: every invariant of the ledger, and the chain of its batches, counted and named.

`python -m svc.wallet.audit` checks everything, also that each entry was told by its event, and says
what is wrong; the hourly job checks the ledger, the chain from where the last sound audit ended.
"""

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import asyncpg
import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from svc.mesh import tls
from svc.mesh.database import Tx
from svc.mesh.settings import Settings
from svc.wallet import chain, store
from svc.wallet.contract import AuditReport
from svc.wallet.invariants import CLAIMS, HASHES, INVARIANTS
from svc.wallet.told import Listener

if TYPE_CHECKING:
    from svc.mesh.context import Context

PLANS = """
    SELECT set_config('enable_seqscan', 'on', true), set_config('enable_nestloop', 'off', true),
        set_config('work_mem', '64MB', true)
"""
"""Large tables are hashed or sorted, whatever is known of their size: before the first ANALYZE the
planner would compare each transfer with each."""
COUNTS = """
    SELECT count(*) AS transfers, coalesce(sum((cash_change <> 0)::int + (bonus_change <> 0)::int
        + (held_change <> 0)::int + (won_from_play <> 0)::int
        + (greatest(held_after - cash_after, 0) IS DISTINCT FROM
            greatest(held_after - held_change - cash_after + cash_change, 0))::int)
        FILTER (WHERE outcome = 'applied'), 0) AS entries
    FROM transfer
"""
"""As the view `entry` has them, in one pass."""
ROWS_AT_ONCE = 5_000
CONNECT_S = 3
EPOCH = datetime.fromtimestamp(0, UTC)
IN_BATCHES = f"""
    SELECT batch.shard, batch.no, batch.at, batch.prev, batch.hash, {store.TRANSFER}
    FROM batch JOIN transfer ON transfer.shard = batch.shard AND transfer.batch = batch.no
    WHERE batch.at >= $1 AND transfer.decided_at >= $1
    ORDER BY batch.shard, batch.no, transfer.id
"""  # noqa: S608 -- the columns are the store's

Heads = dict[str, tuple[int, str]]
"""The ends of the chains, number and hash in hex, by shard."""


async def audit(tx: Tx, *, since: datetime | None = None) -> AuditReport:
    """Count the violations of every invariant; a healthy ledger has none.

    Hashes are computed again for batches from `since` on, without it for all. The numbers are of
    one moment if the transaction is REPEATABLE READ.
    """
    await tx.execute(PLANS)
    violations = {name: int(await tx.fetchval(one.query)) for name, one in INVARIANTS.items()}
    violations[HASHES] = len(await changed_batches(tx, since))
    counts = await tx.fetch(COUNTS)
    house = await tx.fetch(
        "SELECT name, currency, balance FROM account WHERE user_id IS NULL ORDER BY currency, name"
    )
    return AuditReport(
        healthy=not any(violations.values()),
        violations=violations,
        transfers=counts[0]["transfers"],
        entries=counts[0]["entries"],
        totals={f"{name}:{currency}": balance for name, currency, balance in house},
    )


async def changed_batches(tx: Tx, since: datetime | None = None) -> list[tuple[int, int]]:
    """Return shard and number of each batch whose transfers do not give its hash.

    Batches committed from `since` on, without it all.
    """
    changed: list[tuple[int, int]] = []
    place: tuple[int, int] | None = None
    told, rows = b"", list[tuple[object, ...]]()
    head: tuple[datetime, bytes] = (EPOCH, b"")

    def finish() -> None:
        if place is not None and chain.hash_of(*place, *head, rows) != told:
            changed.append(place)

    async for row in tx.connection.cursor(IN_BATCHES, since or EPOCH, prefetch=ROWS_AT_ONCE):
        if (row[0], row[1]) != place:
            finish()
            place, head, told, rows = (row[0], row[1]), (row[2], row[3]), row[4], []
        rows.append(store.plain(row[5:]))
    finish()
    return changed


async def heads(tx: Tx) -> Heads:
    """Return the ends of the chains now."""
    rows = await tx.fetch("SELECT shard, no, hash FROM shard WHERE no > 0 ORDER BY shard")
    return {str(row["shard"]): (row["no"], row["hash"].hex()) for row in rows}


async def last_sound(tx: Tx) -> datetime | None:
    """Return when the last audit ran that found nothing, None before the first."""
    return await tx.fetchval("SELECT max(ran_at) FROM audit_run WHERE healthy")


async def record(tx: Tx, report: AuditReport, ends: Heads, at: datetime) -> None:
    """Keep what an audit found, and the ends of the chains from before it looked."""
    await tx.execute(
        """
        INSERT INTO audit_run (ran_at, healthy, violations, transfers, entries, heads)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
        """,
        at,
        report.healthy,
        msgspec.json.encode(report.violations).decode(),
        report.transfers,
        report.entries,
        msgspec.json.encode(ends).decode(),
    )


async def main() -> int:
    """Check the whole ledger and what was told of it, and print each invariant.

    Returns 0 when all hold, 1 when one does not, 2 when NATS or Postgres was not there to be asked.
    """
    settings = Settings()
    url = settings["WALLET_DATABASE_URL"]
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_S, server_settings={"timezone": "UTC"}
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        address = url.rpartition("@")[2].partition("?")[0]  # without a password
        said = str(error) or type(error).__name__
        print(f"no connection to Postgres at {address}: {said}; start it with: ./just up")
        return 2
    nats = await operator(settings)
    try:
        listener = Listener(connection, nats.jetstream(timeout=5)) if nats else None
        if listener:
            await listener.listen()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # Nobody asks here: no call, no event, so the transaction belongs to no context.
            tx = Tx(connection, cast("Context", None))
            report = await audit(tx)
            changed = await changed_batches(tx) if report.violations[HASHES] else []
            told = await listener.compare(EPOCH) if listener else {}
    finally:
        await connection.close()
        if nats:
            await nats.close()
    found = {**report.violations, **told}
    for name, (claim, next_step) in CLAIMS.items():
        print(line_of(found.get(name), name, claim, next_step))
    for shard, no in changed:
        print(f"BAD  batch {no} of shard {shard} is not what was committed")
    broken = any(found.values())
    sound = "BROKEN" if broken else "sound"
    print(f"{report.transfers} transfers, {report.entries} entries: the ledger is {sound}")
    return 1 if broken else 0 if nats else 2


def line_of(count: int | None, name: str, claim: str, next_step: str) -> str:
    """Return how an invariant is shown: whether it holds, and what to do when it does not."""
    if count is None:
        return f"?    {claim}: not checked, NATS does not answer; start it with ./just up"
    if not count:
        return f"ok   {claim}"
    return f"BAD  {claim}: {count} times not ({name})\n     next: {next_step}"


async def operator(settings: Settings) -> Client | None:
    """Return a connection as the operator, who may read every topic; None without NATS."""

    async def quiet(_: Exception) -> None:
        """It is said in the audit's own words."""

    client = Client()
    try:
        # A first connection is tried again and again, whatever is said of reconnecting.
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                settings["NATS_URL"],
                nkeys_seed_str=settings.nkey_seed("operator"),
                inbox_prefix="_INBOX.operator",
                tls=tls.nats_context(settings),
                allow_reconnect=False,
                error_cb=quiet,
            )
    except (OSError, NatsError, TimeoutError):
        return None
    return client


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
