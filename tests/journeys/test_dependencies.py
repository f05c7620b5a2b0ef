"""The diagram's table of dependencies, a row a test: what may be down, and what then happens."""

import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from svc.demo.client import DemoFailed, until
from svc.demo.flows import World
from svc.mesh.clock import new_id
from tests.journeys.load import Load, open_match
from tests.journeys.world import Platform, audit, deposited, new_player, operator


@pytest.fixture(scope="module", autouse=True)
async def unobserved(whole: Platform) -> AsyncGenerator[None]:
    """Let nobody listen meanwhile, so that the server can say at once that a service is away."""
    await whole.wiretap.stop()
    yield
    await whole.wiretap.start()


DEADLINE_S = 9.0
"""The longest deadline of the calls below (withdrawals), and a second for the way."""


async def all_four_flows(whole: Platform, world: World, match: str) -> None:
    """Register, deposit, bet and play, as far as the player sees it."""
    await new_player(world)
    await deposited(world)
    load = Load(world, await open_match(world, match))
    await load.open_session()
    await load.run(1)
    moved = load.moved()

    async def arrived() -> bool:
        balance = await world.player.balance()
        return balance["cash"] >= 10_000 + moved

    await until("the player's money", arrived)
    assert whole.fleet.processes


@pytest.mark.timeout(90)
async def test_without_notification_the_flows_complete_and_it_catches_up(whole: Platform) -> None:
    whole.fleet.stop(["notification"])
    async with whole.world() as world:
        try:
            await all_four_flows(whole, world, "sr:match:801")
            assert await world.messages() == []
        finally:
            await whole.restart("notification")

        async def welcomed() -> bool:
            return len(await world.messages()) >= 3

        await until("the texts that were owed", welcomed, within_s=40)


@pytest.mark.timeout(90)
async def test_without_reporting_the_flows_complete_and_it_catches_up(whole: Platform) -> None:
    async with whole.world() as world:
        await operator(world)
        before = await world.count("BetPlacedEvent")
        whole.fleet.stop(["reporting"])
        try:
            await all_four_flows(whole, world, "sr:match:802")
        finally:
            await whole.restart("reporting")

        async def counted() -> bool:
            return await world.count("BetPlacedEvent") == before + 1

        await until("the bet in the numbers", counted, within_s=40)


@pytest.mark.timeout(90)
async def test_without_localization_the_flows_complete_and_texts_come_back(
    whole: Platform,
) -> None:
    whole.fleet.stop(["localization"])
    async with whole.world() as world:
        try:
            await all_four_flows(whole, world, "sr:match:803")
            await world.player.ask("GET", "/v1/i18n/en/notification", expect=503)
        finally:
            await whole.restart("localization")

        async def served() -> bool:
            answer = await world.player.http.get("/v1/i18n/de/notification")
            return answer.is_success

        await until("bundles again", served)


@pytest.mark.timeout(90)
async def test_without_marketing_the_flows_complete_and_it_catches_up(whole: Platform) -> None:
    whole.fleet.stop(["marketing"])
    async with whole.world() as world:
        try:
            await all_four_flows(whole, world, "sr:match:804")
            assert (await world.player.balance())["bonus"] == 0
        finally:
            await whole.restart("marketing")

        async def awarded() -> bool:
            return (await world.player.balance())["bonus"] > 0

        await until("the bonus that was owed", awarded, within_s=40)


@pytest.mark.timeout(90)
async def test_without_scheduler_the_flows_complete_and_jobs_come_due_again(
    whole: Platform,
) -> None:
    whole.fleet.stop(["scheduler"])
    async with whole.world() as world:
        try:
            await all_four_flows(whole, world, "sr:match:805")
        finally:
            await whole.restart("scheduler")
        await operator(world)
        before = await world.count("JobDueEvent")

        async def due() -> bool:
            return await world.count("JobDueEvent") > before

        await until("a job due", due, within_s=40)


@pytest.mark.timeout(90)
async def test_without_wallet_money_is_refused_in_time_and_nothing_is_lost(
    whole: Platform,
) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        await operator(world)
        load = Load(world, await open_match(world, "sr:match:806"))
        await load.open_session()
        before = await world.player.balance()
        bet = {"kind": "single", "selections": [load.selection], "stake": 200, "currency": "EUR"}
        round_path = f"/v1/casino/sessions/{load.session_id}/rounds"
        dice = {"stake": 100, "currency": "EUR", "choice": {"target": 50, "over": True}}
        withdrawal = {"amount": 500, "currency": "EUR", "method": "bank_ok"}
        whole.fleet.stop(["wallet"])
        try:
            for path, body in (
                ("/v1/bets", bet), (round_path, dice), ("/v1/withdrawals", withdrawal),
            ):  # fmt: skip
                started = time.monotonic()
                answer = await _problem(world, path, body)
                assert time.monotonic() - started < DEADLINE_S
                assert answer["type"] == "urn:betmesh:problem:unavailable"
        finally:
            await whole.restart("wallet")

        async def whole_again() -> bool:
            after = await world.player.balance()
            return (await audit(world))["healthy"] and after["available"] <= before["available"]

        await until("a healthy ledger", whole_again)


async def _problem(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        return await world.player.ask("POST", path, body, key=new_id(), expect=503)
    except DemoFailed as failure:
        raise AssertionError(str(failure)) from failure


@pytest.mark.timeout(90)
async def test_without_identity_players_who_are_logged_in_go_on(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        selection = await open_match(world, "sr:match:807")
        whole.fleet.stop(["identity"])
        try:
            load = Load(world, selection)
            await load.open_session()
            await load.run(3)
            await world.player.ask("POST", "/v1/sessions", _login(world), expect=503)
        finally:
            await whole.restart("identity")
        await world.player.log_in(world.account["email"], world.account["password"])


def _login(world: World) -> dict[str, str]:
    return {"email": world.account["email"], "password": world.account["password"]}
