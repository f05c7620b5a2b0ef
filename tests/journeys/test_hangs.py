"""A callee that hangs, and services that begin anew, while players go on."""

import asyncio
import signal
import time
from collections import Counter
from contextlib import suppress

import httpx
import pytest

from svc.demo.client import until
from svc.mesh.clock import new_id
from svc.platform import roll
from tests.journeys.load import Load
from tests.journeys.world import Platform, audit, deposited, new_player, operator

DEADLINE_S = 6.0
"""What a round has at most, with the wallet's answer in it, and a second for the way."""
PLAYERS_AT_ONCE = 6
PACE_S = 0.02


@pytest.mark.timeout(90)
async def test_a_hung_wallet_costs_callers_their_deadline_and_no_more(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        await operator(world)
        load = Load(world, {})
        await load.open_session()
        wallet = whole.fleet.processes["wallet"]
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

        wallet.send_signal(signal.SIGSTOP)
        try:
            hung = await asyncio.gather(*map(play, keys))
            began = time.monotonic()
            read = await world.player.http.get("/v1/wallet", headers=authorized)
            reading = time.monotonic() - began
        finally:
            wallet.send_signal(signal.SIGCONT)

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
    async with whole.world() as world:
        await new_player(world)
        await deposited(world)
        load = Load(world, {})
        await load.open_session()
        answers: Counter[str] = Counter()
        done = asyncio.Event()

        async def play(client: httpx.AsyncClient) -> None:
            path = f"/v1/casino/sessions/{load.session_id}/rounds"
            body = {"stake": 10, "currency": "EUR", "choice": {"target": 50, "over": True}}
            while not done.is_set():
                wallet = await asked(client, "GET", "/v1/wallet")
                played = await asked(client, "POST", path, body)
                answers.update([f"wallet {wallet}", f"round {played}"])
                await asyncio.sleep(PACE_S)

        async def asked(
            client: httpx.AsyncClient, method: str, path: str, body: object = None
        ) -> str:
            headers = {
                "Authorization": f"Bearer {world.player.token}", "Idempotency-Key": new_id(),
            }  # fmt: skip
            try:
                answer = await client.request(method, path, json=body, headers=headers)
            except httpx.HTTPError as failure:
                return repr(failure)
            return "ok" if answer.is_success else answer.text

        # No connection is kept: whether a server may close an idle one is not what is asked here.
        limits = httpx.Limits(max_keepalive_connections=0)
        url = whole.installation["GATEWAY_URL"]
        pids = {name: whole.fleet.processes[name].pid for name in ("wallet", "gateway")}
        async with httpx.AsyncClient(base_url=url, timeout=15, limits=limits) as client:
            players = [asyncio.create_task(play(client)) for _ in range(PLAYERS_AT_ONCE)]
            try:
                names = ("wallet", "gateway")
                assert await asyncio.to_thread(roll.roll, names, whole.installation) == 0
            finally:
                done.set()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(*players)

        assert set(answers) == {"wallet ok", "round ok"}, answers
        assert pids == {name: whole.fleet.processes[name].pid for name in pids}
        assert all(whole.fleet.processes[name].poll() is None for name in pids)
