"""Rounds that are interrupted: nothing is lost, nothing is taken twice, nothing is guessed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from svc.casino.contract import (
    CASINO_BET_PLACED,
    CASINO_PAYOUT_COMPLETE,
    CLOSE_SESSION,
    OPEN_SESSION,
    PLAY_ROUND,
    NoSpinsLeft,
    OpenSession,
    PlayRound,
    SessionOf,
)
from svc.marketing import contract as marketing
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import Conflict, Invalid, Unavailable
from svc.scheduler import contract as scheduler
from svc.wallet import contract as wallet
from tests.casino.players import balance_becomes, new_player
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

DICE: dict[str, Any] = {"target": 98, "over": False}


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services.stop("marketing")  # no bonus shall pay for what a player cannot
    await services("wallet", "casino")


@asynccontextmanager
async def silent_wallet(platform: Platform, services: Services) -> AsyncGenerator[None]:
    """Put somebody in the wallet's place who takes every deduction in and never answers."""
    await services.stop("wallet")
    async with platform.nats("wallet") as connection:

        async def hear(_message: Msg) -> None:
            """Say nothing."""

        await connection.subscribe(wallet.DEDUCT_BALANCE.subject, queue="wallet", cb=hear)
        await connection.flush()
        try:
            yield
        finally:
            await connection.drain()
            await services("wallet")


async def a_round(operator: Operator, user_id: str, **changes: Any) -> PlayRound:
    session = await operator.call(OPEN_SESSION, OpenSession(user_id=user_id, game_id="dice"))
    request = PlayRound(
        user_id=user_id,
        session_id=session.session_id,
        idempotency_key=new_id(),
        stake=1_000,
        currency="EUR",
        choice=DICE,
    )
    return msgspec.structs.replace(request, **changes)


async def stored(platform: Platform, request: PlayRound) -> dict[str, Any]:
    async with platform.database("casino") as connection:
        row = await connection.fetchrow(
            """SELECT round_id::text, stake_transfer_id::text, status, refusal FROM rounds
               WHERE user_id = $1 AND idempotency_key = $2""",
            request.user_id,
            request.idempotency_key,
        )
    assert row is not None
    return dict(row)


async def sweep(platform: Platform, operator: Operator, request: PlayRound) -> None:
    """Let a round look abandoned, and the job come due."""
    async with platform.database("casino") as connection:
        await connection.execute(
            "UPDATE rounds SET placed_at = placed_at - interval '1 minute' WHERE user_id = $1",
            request.user_id,
        )
    due = scheduler.JobDue(
        service="casino", name="sweep-rounds", key="", due_at=SystemClock().now(), payload={}
    )
    await operator.publish(scheduler.JOB_DUE, due, subject="casino.sweep-rounds")


async def becomes(platform: Platform, request: PlayRound, status: str) -> None:
    async def holds() -> bool:
        return (await stored(platform, request))["status"] == status

    await until(holds, f"the round is {status}")


async def test_a_silent_wallet_leaves_the_round_pending_and_the_same_request_finishes_it(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 10_000)
    request = await a_round(operator, user_id)
    async with silent_wallet(platform, services):
        with pytest.raises(Unavailable):
            await operator.call(PLAY_ROUND, request)
        assert (await stored(platform, request))["status"] == "pending"
    played = await operator.call(PLAY_ROUND, request)
    assert played == await operator.call(PLAY_ROUND, request)
    await balance_becomes(operator, user_id, 9_000 + played.payout)


async def test_without_the_wallet_a_round_is_refused_at_once_and_later_given_back(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 10_000)
    request = await a_round(operator, user_id)
    await services.stop("wallet")
    with pytest.raises(Unavailable):
        await operator.call(PLAY_ROUND, request)
    await services("wallet")
    await sweep(platform, operator, request)
    await becomes(platform, request, "rejected")
    with pytest.raises(Conflict):
        await operator.call(PLAY_ROUND, request)
    await balance_becomes(operator, user_id, 10_000)


async def test_a_stake_that_the_wallet_took_while_nobody_heard_it_is_given_back(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 10_000)
    request = await a_round(operator, user_id)
    async with silent_wallet(platform, services):
        with pytest.raises(Unavailable):
            await operator.call(PLAY_ROUND, request)
    pending = await stored(platform, request)
    taken = wallet.Transfer(
        transfer_id=pending["stake_transfer_id"],
        user_id=user_id,
        amount=request.stake,
        currency=request.currency,
        kind="casino_bet",
        reference=pending["round_id"],
    )
    await operator.call(wallet.DEDUCT_BALANCE, taken)
    await balance_becomes(operator, user_id, 9_000)
    await sweep(platform, operator, request)
    await becomes(platform, request, "rejected")
    await balance_becomes(operator, user_id, 10_000)
    heard = await operator.all_heard(CASINO_BET_PLACED, lambda data: data.user_id == user_id)
    assert heard == []


async def test_a_closing_session_gives_pending_stakes_back_since_its_seed_is_public(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 10_000)
    request = await a_round(operator, user_id)
    async with silent_wallet(platform, services):
        with pytest.raises(Unavailable):
            await operator.call(PLAY_ROUND, request)
    closed = await operator.call(
        CLOSE_SESSION, SessionOf(user_id=user_id, session_id=request.session_id)
    )
    assert closed.server_seed is not None
    assert (await stored(platform, request))["status"] == "reversing"
    with pytest.raises(Unavailable):
        await operator.call(PLAY_ROUND, request)
    await sweep(platform, operator, request)
    await becomes(platform, request, "rejected")
    with pytest.raises(Conflict):
        await operator.call(PLAY_ROUND, request)
    await balance_becomes(operator, user_id, 10_000)


@asynccontextmanager
async def spins_left(
    platform: Platform, services: Services, spins: int
) -> AsyncGenerator[list[str]]:
    """Put somebody in marketing's place who has some spin chances worth 50 minor units to give."""
    ran = "marketing" in services.running
    await services.stop("marketing")
    given: list[str] = []
    async with platform.nats("marketing") as connection:

        async def give(message: Msg) -> None:
            asked = msgspec.json.decode(message.data, type=marketing.ConsumeSpin)
            if asked.spin_id not in given and len(given) == spins:
                problem = {"type": "urn:betmesh:problem:no-spins-left", "detail": "none left"}
                headers = {
                    "Nats-Service-Error": "no-spins-left", "Nats-Service-Error-Code": "422"
                }  # fmt: skip
                await connection.publish(
                    message.reply, msgspec.json.encode(problem), headers=headers
                )
                return
            if asked.spin_id not in given:
                given.append(asked.spin_id)
            consumed = marketing.SpinConsumed(
                spin_id=asked.spin_id, bet_size=50, currency="EUR", remaining=spins - len(given)
            )
            await message.respond(msgspec.json.encode(consumed))

        await connection.subscribe(marketing.CONSUME_SPIN.subject, queue="marketing", cb=give)
        await connection.flush()
        yield given
    if ran:
        await services("marketing")


async def test_a_free_spin_stakes_nothing_and_pays_winnings(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 1_000)
    choice = {**DICE, "free_spin": True}
    request = await a_round(operator, user_id, stake=50, choice=choice)
    async with spins_left(platform, services, 1) as given:
        played = await operator.call(PLAY_ROUND, request)
        assert played == await operator.call(PLAY_ROUND, request)
        assert len(given) == 1
        with pytest.raises(NoSpinsLeft):
            await operator.call(
                PLAY_ROUND, msgspec.structs.replace(request, idempotency_key=new_id())
            )
    assert played.outcome["stake"] == 50
    await balance_becomes(operator, user_id, 1_000, bonus=played.payout)
    over = await operator.heard(
        CASINO_PAYOUT_COMPLETE, lambda data: data.round_id == played.round_id
    )
    assert (over.data.stake, over.data.free_spin) == (0, True)
    placed = await operator.all_heard(CASINO_BET_PLACED, lambda data: data.user_id == user_id)
    assert placed == []


async def test_a_free_spin_that_was_interrupted_is_played_by_the_sweep(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 1_000)
    request = await a_round(operator, user_id, choice={**DICE, "free_spin": True})
    marketing_ran = "marketing" in services.running
    await services.stop("marketing")
    with pytest.raises(Unavailable):
        await operator.call(PLAY_ROUND, request)
    async with spins_left(platform, services, 1):
        await sweep(platform, operator, request)
        await becomes(platform, request, "played")
    if marketing_ran:
        await services("marketing")
    played = await operator.call(PLAY_ROUND, request)
    await balance_becomes(operator, user_id, 1_000, bonus=played.payout)


async def test_a_free_spin_that_waits_for_marketing_holds_up_no_stake(
    operator: Operator, platform: Platform, services: Services
) -> None:
    spinner, player = await new_player(operator, 1_000), await new_player(operator, 10_000)
    spin = await a_round(operator, spinner, choice={**DICE, "free_spin": True})
    request = await a_round(operator, player)
    await services.stop("wallet")
    for one in (spin, request):
        with pytest.raises(Unavailable):
            await operator.call(PLAY_ROUND, one)
    await services("wallet")
    async with platform.database("casino") as connection:
        await connection.execute(
            "UPDATE rounds SET placed_at = placed_at - interval '1 hour' WHERE user_id = $1",
            spinner,
        )
    await sweep(platform, operator, request)
    await becomes(platform, request, "rejected")
    assert (await stored(platform, spin))["status"] == "pending"
    async with spins_left(platform, services, 1):
        await sweep(platform, operator, spin)
        await becomes(platform, spin, "played")


async def test_a_client_seed_that_no_database_keeps_is_refused(operator: Operator) -> None:
    with pytest.raises(Invalid, match=r"client_seed"):
        await operator.call(
            OPEN_SESSION, OpenSession(user_id=new_id(), game_id="dice", client_seed="a\0b")
        )
    with pytest.raises(Invalid, match=r"game_id"):
        await operator.call(OPEN_SESSION, OpenSession(user_id=new_id(), game_id="dice\n"))


async def test_an_abandoned_round_is_only_swept_once_nobody_can_wait_for_it(
    operator: Operator, platform: Platform, services: Services
) -> None:
    user_id = await new_player(operator, 10_000)
    request = await a_round(operator, user_id)
    older = await a_round(operator, await new_player(operator, 10_000))
    await services.stop("wallet")
    for one in (request, older):
        with pytest.raises(Unavailable):
            await operator.call(PLAY_ROUND, one)
    await services("wallet")
    before = SystemClock().now()
    await sweep(platform, operator, older)
    await becomes(platform, older, "rejected")
    assert SystemClock().now() - before < timedelta(seconds=10)
    assert (await stored(platform, request))["status"] == "pending"
    played = await operator.call(PLAY_ROUND, request)
    await balance_becomes(operator, user_id, 9_000 + played.payout)
