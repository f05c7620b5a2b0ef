"""A database connection that is lost in the middle: try again later, and nothing stays undone."""

import pytest

from svc.mesh.errors import Unavailable
from svc.mesh.outbox import RELAY_LOCK
from tests.mesh.pair import Pair
from tests.mesh.test_events import say
from tests.support.waiting import until


async def test_a_connection_lost_inside_a_transaction_means_try_again(pair: Pair) -> None:
    async def lose() -> None:
        async with pair.asking.context().transaction() as tx:
            await tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable, match="the database could not finish"):
        await lose()
    async with pair.asking.context().transaction() as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_a_relay_whose_connection_is_lost_goes_on_publishing(pair: Pair) -> None:
    async with pair.answering.context().transaction() as holder:
        await holder.execute("SELECT pg_advisory_xact_lock($1)", RELAY_LOCK)
        number = await say(pair)

        async def relay_lost() -> bool:
            # Inside a transaction the activity is what it was at the first look.
            await holder.execute("SELECT pg_stat_clear_snapshot()")
            return bool(
                await holder.fetchval(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE wait_event = 'advisory' AND query LIKE '%pg_advisory_lock%'"""
                )
            )

        await until(relay_lost)

    async def took_effect() -> bool:
        return number in await pair.effects()

    await until(took_effect)
