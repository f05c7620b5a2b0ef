"""Any one service killed with SIGKILL under load and started again: nothing lost, nothing doubled.

The player's own account of what was acknowledged is compared with the ledger, and the events in
the streams with both: a ledger can be consistent and still have lost what it promised.
"""

import asyncio
from collections import Counter

import pytest

from svc import catalogue
from svc.demo.client import until
from tests.journeys.events import Told, dead_letters, told_of
from tests.journeys.load import Load, open_match
from tests.journeys.world import Platform, audit, deposited, new_player, operator

TIMES = 12
KILL_AFTER = 6


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", catalogue.NAMES)
async def test_a_killed_service_loses_and_doubles_nothing(whole: Platform, name: str) -> None:
    async with whole.world() as world:
        await new_player(world)
        await operator(world)
        await deposited(world)
        load = Load(world, await open_match(world, f"sr:match:9{catalogue.NAMES.index(name)}"))
        await load.open_session()
        running = asyncio.create_task(load.run(TIMES))

        async def under_way() -> bool:
            assert not running.done() or running.result() is None
            return load.acknowledged >= KILL_AFTER

        await until("load under way", under_way)
        whole.fleet.kill(name)
        await whole.restart(name)
        await running

        told = await _settled(whole, load)
        assert told.counts()["BetPlacedEvent"] == len(load.bets) == TIMES
        assert told.counts()["CasinoBetPlacedEvent"] == len(load.rounds) == TIMES
        assert told.counts()["CasinoPayoutCompleteEvent"] == TIMES
        assert told.counts()["PaymentSuccessEvent"] == len(load.deposits) + 1
        assert _all_different(told)
        assert (await audit(world))["healthy"]
        assert await dead_letters(whole.installation) == []

        async def reconciled() -> bool:
            report = await world.operator.ask("GET", "/v1/reports/reconciliation")
            return report["agrees"]

        await until("reporting agrees with the ledger", reconciled, within_s=30)


async def _settled(whole: Platform, load: Load) -> Told:
    """Wait until the wallet holds what was acknowledged, given and paid in, to the unit."""
    last: dict[str, int] = {}

    async def agrees() -> Told | None:
        told = await told_of(whole.installation, load.world.user_id)
        balance = await load.world.player.balance()
        expected = 10_000 + load.moved() + told.money_given()
        last.update(balance=balance["cash"] + balance["bonus"], expected=expected)
        counts = told.counts()
        complete = (
            counts["CasinoPayoutCompleteEvent"] >= len(load.rounds)
            and counts["BetPlacedEvent"] >= len(load.bets)
            and counts["PaymentSuccessEvent"] >= len(load.deposits) + 1
        )
        return told if complete and last["balance"] == expected else None

    try:
        return await until("the wallet agrees with the player", agrees, within_s=40)
    except Exception as failure:
        raise AssertionError(f"{failure}; {last}") from failure


def _all_different(told: Told) -> bool:
    """Tell whether no event was published twice and no transfer changed the balance twice."""
    ids = Counter(event.id for event in told.events)
    transfers = Counter(
        (data["transfer_id"], data["kind"]) for data in told.of("BalanceChangedEvent")
    )
    return max(ids.values()) == 1 and max(transfers.values()) == 1
