"""Self-exclusion against bets, rounds, deposits and stakes of callers from outside in flight.

None is accepted after the answer to the exclusion.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2, wallet_pb2_grpc
from svc.demo.client import until
from svc.demo.flows import World
from svc.mesh.clock import new_id
from tests.journeys.load import Load, open_match
from tests.journeys.world import Platform, audit, deposited, new_player, operator

STREAMS_OF_EACH = 3
EXCLUDED = (403, "urn:betmesh:problem:self-excluded")
EXCLUDED_OUTSIDE = (grpc.StatusCode.FAILED_PRECONDITION, "self-excluded")
OUTSIDE = "a caller from outside"
ACCEPTED = {
    "sportsbook": "SELECT accepted_at AS at FROM bet WHERE user_id = $1 AND accepted_at NOTNULL",
    "casino": "SELECT decided_at AS at FROM rounds WHERE user_id = $1 AND status = 'played'",
    "payment": "SELECT created_at AS at FROM deposits WHERE user_id = $1 AND refusal IS NULL",
    "wallet": "SELECT decided_at AS at FROM transfer WHERE user_id = $1 AND outcome = 'applied'"
    " AND verb = 'deduct_balance' AND reference = 'a caller from outside'",
}
OPEN = {
    "sportsbook": "SELECT 1 FROM bet WHERE user_id = $1 AND status = 'pending'",
    "casino": "SELECT 1 FROM rounds WHERE user_id = $1 AND status IN ('pending', 'reversing')",
}


async def accepted(whole: Platform, world: World) -> dict[str, list[datetime]]:
    """Return when bets, rounds and deposits were accepted, as the services' own books say."""
    return {
        service: [row["at"] for row in await whole.rows(service, query, world.user_id)]
        for service, query in ACCEPTED.items()
    }


class Streams:
    """A player who bets, plays and deposits without a pause, several times at once."""

    def __init__(self, world: World, load: Load) -> None:
        """Prepare; `run` goes on until `stop`."""
        self.world = world
        self.answers: list[tuple[bool, int, str]] = []
        self.outside: list[tuple[bool, grpc.StatusCode, str]] = []
        self.excluded = False
        self.stop = False
        dice = {"stake": 100, "currency": "EUR", "choice": {"target": 50, "over": True}}
        bet = {"kind": "single", "selections": [load.selection], "stake": 100, "currency": "EUR"}
        self.requests: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/v1/bets", bet | {"odds_policy": "any"}),
            (f"/v1/casino/sessions/{load.session_id}/rounds", dice),
            ("/v1/deposits", {"amount": 1_000, "currency": "EUR", "method": "card_ok"}),
        )

    async def run(self) -> None:
        """Send every kind of request in several streams."""
        streams = [request for request in self.requests for _ in range(STREAMS_OF_EACH)]
        await asyncio.gather(
            self._stake_from_outside(), *(self._repeat(path, body) for path, body in streams)
        )

    async def _stake_from_outside(self) -> None:
        settings = self.world.settings
        key = (("authorization", f"Bearer {settings['GRPC_API_KEY']}"),)
        taken: list[str] = []
        async with grpc.aio.insecure_channel(settings["GATEWAY_GRPC"]) as channel:
            wallet = cast("Any", wallet_pb2_grpc.WalletStub)(channel)
            while not self.stop:
                stake = wallet_pb2.DeductBalanceRequest(
                    transfer_id=new_id(), user_id=self.world.user_id, amount=1, currency="EUR",
                    kind="casino_bet", reference=OUTSIDE,
                )  # fmt: skip
                sent_after, code, name = self.excluded, grpc.StatusCode.OK, ""
                try:
                    await wallet.DeductBalance(stake, metadata=key)
                except grpc.aio.AioRpcError as failure:
                    code, name = failure.code(), (failure.details() or "").partition(":")[0]
                if code is not grpc.StatusCode.FAILED_PRECONDITION:
                    taken.append(stake.transfer_id)
                self.outside.append((sent_after, code, name))
            # No product tells of these stakes: what stays of them is a difference to the ledger.
            for transfer_id in taken:
                undo = wallet_pb2.RollbackRequest(
                    transfer_id=new_id(), original_transfer_id=transfer_id
                )
                await wallet.Rollback(undo, metadata=key)

    async def _repeat(self, path: str, body: dict[str, Any]) -> None:
        while not self.stop:
            sent_after = self.excluded
            answer = await self.world.player.http.post(
                path,
                json=body,
                headers={
                    "Authorization": f"Bearer {self.world.player.token}",
                    "Idempotency-Key": new_id(),
                },
            )
            kind = "" if answer.is_success else answer.json()["type"]
            self.answers.append((sent_after, answer.status_code, kind))

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until the answers so far are enough."""
        async with asyncio.timeout(40):
            while not enough():  # noqa: ASYNC110 -- what the streams do has no event of its own
                await asyncio.sleep(0.01)


def stand_still(whole: Platform, which: signal.Signals) -> None:
    """Stop the processes that take bets and rounds where they are, or let them go on."""
    for name in ("sportsbook", "casino"):
        os.kill(whole.fleet.processes[name].pid, which)


async def is_excluded(whole: Platform, world: World) -> bool:
    """Say whether identity has kept the exclusion, answered or not."""
    query = "SELECT 1 FROM users WHERE user_id = $1 AND excluded_until IS NOT NULL"
    return bool(await whole.rows("identity", query, world.user_id))


async def nothing_is_open(whole: Platform, world: World) -> bool:
    """Say whether no bet and no round waits for its end."""
    return not [
        row
        for service, query in OPEN.items()
        for row in await whole.rows(service, query, world.user_id)
    ]


async def exclude(world: World) -> dict[str, Any]:
    """Ask for an exclusion until it is confirmed, as a client does that is told to ask again."""
    answer = await world.player.http.post(
        "/v1/users/me/self-exclusion",
        json={"months": 6},
        headers={"Authorization": f"Bearer {world.player.token}"},
    )
    if answer.status_code in {503, 504}:
        return await exclude(world)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.timeout(150)
async def test_nothing_is_accepted_after_the_answer_to_an_exclusion(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await deposited(world, 50_000)
        load = Load(world, await open_match(world, "sr:match:821"))
        await load.open_session()
        streams = Streams(world, load)
        running = asyncio.create_task(streams.run())
        await streams.until(lambda: sum(status < 300 for _, status, _ in streams.answers) >= 25)

        # Requests pile up in two services that stand still: they are what an exclusion must beat.
        stand_still(whole, signal.SIGSTOP)
        sent = len(streams.answers)
        asked = asyncio.create_task(exclude(world))
        await streams.until(lambda: len(streams.answers) > sent + 2)
        await until("the exclusion kept", partial(is_excluded, whole, world))
        stand_still(whole, signal.SIGCONT)
        answer = await asked
        answered_at = datetime.now(UTC)
        streams.excluded = True
        at_once = await accepted(whole, world)
        await streams.until(lambda: sum(after for after, _, _ in streams.answers) >= 30)
        streams.stop = True
        await running

        finally_ = await accepted(whole, world)
        assert answer["excluded_until"] is not None
        assert all(finally_.values())
        assert {name: len(when) for name, when in finally_.items()} == {
            name: len(when) for name, when in at_once.items()
        }
        assert [at for when in finally_.values() for at in when if at > answered_at] == []
        late = {(status, kind) for after, status, kind in streams.answers if after}
        assert late == {EXCLUDED}
        assert {(code, name) for after, code, name in streams.outside if after} == {
            EXCLUDED_OUTSIDE
        }
        # What ran out of time while its service stood still is given up by the next sweep.
        await until("nothing left open", partial(nothing_is_open, whole, world), within_s=30)
        assert await accepted(whole, world) == finally_
        await operator(world)
        assert (await audit(world))["healthy"]
        # What is theirs stays theirs: the balance can be withdrawn.
        withdrawal = {"amount": 500, "currency": "EUR", "method": "bank_ok"}
        await world.player.ask("POST", "/v1/withdrawals", withdrawal, key=new_id(), expect=202)
