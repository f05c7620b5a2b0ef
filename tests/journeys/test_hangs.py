"""A callee that hangs, and services that begin anew, while players go on."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest

from svc.demo.client import until
from svc.mesh.clock import new_id
from svc.mesh.errors import Unavailable
from svc.platform import roll
from svc.wallet import contract as wallet
from tests.journeys.load import Load
from tests.journeys.world import Platform, audit, deposited, new_player, operator
from tests.support.mesh import Operator
from tests.support.platform import Platform as Ground

DEADLINE_S = 6.0
"""What a round has at most, with the wallet's answer in it, and a second for the way."""
PLAYERS_AT_ONCE = 6
PACE_S = 0.02
WAIT_S = 15.0


@pytest.mark.timeout(90)
async def test_a_hung_wallet_costs_callers_their_deadline_and_no_more(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        await operator(world)
        load = Load(world, {})
        await load.open_session()
        process = whole.fleet.processes["wallet"]
        authorized = {"Authorization": f"Bearer {world.player.token}"}
        keys = [new_id() for _ in range(PLAYERS_AT_ONCE)]

        async def play(key: str) -> tuple[float, httpx.Response]:
            began = time.monotonic()
            answer = await world.player.http.post(
                f"/v1/casino/sessions/{load.session_id}/rounds",
                json={"stake": 100, "currency": "EUR", "choice": {"target": 50, "over": True}},
                headers={**authorized, "Idempotency-Key": key},
            )
            return time.monotonic() - began, answer

        process.send_signal(signal.SIGSTOP)
        try:
            hung = await asyncio.gather(*map(play, keys))
            began = time.monotonic()
            read = await world.player.http.get("/v1/wallet", headers=authorized)
            reading = time.monotonic() - began
        finally:
            process.send_signal(signal.SIGCONT)

        assert max(reading, *(seconds for seconds, _ in hung)) < DEADLINE_S
        assert {answer.status_code for _, answer in hung} <= {503, 504}, hung[0][1].text
        assert read.status_code in {503, 504}

        async def all_played() -> list[str] | None:
            answers = [answer for _, answer in await asyncio.gather(*map(play, keys))]
            if not all(answer.is_success for answer in answers):
                return None
            return [answer.json()["round_id"] for answer in answers]

        rounds = await until("every round with its one answer", all_played)
        assert len(set(rounds)) == len(keys)
        assert await all_played() == rounds
        assert (await audit(world))["healthy"]


@pytest.mark.timeout(150)
async def test_services_that_begin_anew_one_by_one_fail_no_call(whole: Platform) -> None:
    """Long deadlines: what is lost is missed all the same, and a busy machine loses nothing."""
    names = ("gateway", "wallet")
    answers: Counter[str] = Counter()
    done = asyncio.Event()
    pids = [whole.fleet.processes[name].pid for name in names]
    url = whole.installation["GATEWAY_URL"]
    # No connection is kept: whether a server may close an idle one is not what is asked here.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with (
        whole.world() as world,
        httpx.AsyncClient(base_url=url, timeout=WAIT_S, limits=limits) as client,
        Ground(whole.installation).nats("operator") as connection,
    ):
        await new_player(world)
        await deposited(world)
        caller = Operator(Ground(whole.installation), connection)
        await caller.caller.start()

        async def knock() -> str:
            answer = await client.get("/healthz")
            return "ok" if answer.is_success else answer.text

        async def read() -> str:
            await caller.call(
                wallet.BALANCE, wallet.BalanceOf(user_id=world.user_id), wait_s=WAIT_S
            )
            return "ok"

        async def pay() -> str:
            stake = wallet.Transfer(
                transfer_id=new_id(), user_id=world.user_id, amount=1, currency="EUR",
                kind="adjustment", reference=new_id(),
            )  # fmt: skip
            await caller.call(wallet.DEDUCT_BALANCE, stake, wait_s=WAIT_S)
            return "ok"

        async def again_and_again(ask: Callable[[], Awaitable[str]]) -> None:
            while not done.is_set():
                try:
                    answers[f"{ask.__name__} {await ask()}"] += 1
                except (httpx.HTTPError, Unavailable) as failure:
                    answers[f"{ask.__name__} {failure!r}"] += 1
                await asyncio.sleep(PACE_S)

        work = [asyncio.create_task(again_and_again(ask)) for ask in (knock, read, pay) * 2]
        try:
            assert await asyncio.to_thread(roll.roll, names, whole.installation) == 0
        finally:
            done.set()
            await asyncio.gather(*work)
        assert set(answers) == {"knock ok", "read ok", "pay ok"}, answers
        balance = await world.player.balance()
        assert balance["cash"] + balance["bonus"] >= 10_000 - answers["pay ok"]
    assert pids == [whole.fleet.processes[name].pid for name in names]
    assert all(whole.fleet.processes[name].poll() is None for name in names)
