"""Stakes of callers from outside: held against what players set for themselves."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from proto.betmesh.wallet.v1 import wallet_pb2
from svc.identity import contract as identity
from svc.mesh.clock import SystemClock, new_id
from tests.gateway.conftest import Player
from tests.gateway.grpc_wallet import Metadata, answered, deduction, funded, refused
from tests.support.mesh import Operator, Services
from tests.support.waiting import until

PASSED = (grpc.StatusCode.FAILED_PRECONDITION, "limit-exceeded")
EXCLUDED = (grpc.StatusCode.FAILED_PRECONDITION, "self-excluded")


@pytest.fixture
async def limited(
    wallet: Any, player: Player, key: Metadata, door: httpx.AsyncClient
) -> dict[str, int]:
    """The player has 1,000 and stakes at most 500 a day, losing at most 400 of it."""
    await funded(wallet, player, key)
    limits = {"stake": 500, "loss": 400}
    for kind, amount in limits.items():
        body = {"kind": kind, "period": "day", "amount": amount}
        answer = await door.put("/v1/users/me/limits", json=body, headers=player.headers)
        assert answer.is_success, answer.text
    return limits


async def cash(wallet: Any, player: Player, key: Metadata) -> int:
    request = wallet_pb2.GetBalanceRequest(user_id=player.user_id)
    return (await wallet.GetBalance(request, metadata=key)).cash


def winnings(stake: wallet_pb2.DeductBalanceRequest, amount: int) -> Any:
    return wallet_pb2.CreditBalanceRequest(
        transfer_id=new_id(),
        user_id=stake.user_id,
        amount=amount,
        currency="EUR",
        kind="bet_payout",
        reference="test",
        stake_transfer_id=stake.transfer_id,
    )


def undoing(transfer_id: str) -> wallet_pb2.RollbackRequest:
    return wallet_pb2.RollbackRequest(transfer_id=new_id(), original_transfer_id=transfer_id)


async def test_a_stake_above_a_limit_takes_nothing_and_a_repeated_one_counts_once(
    wallet: Any, player: Player, key: Metadata, limited: dict[str, int]
) -> None:
    first = deduction(player, 300)
    for _ in range(3):
        assert (await wallet.DeductBalance(first, metadata=key)).cash == 700
    for kind in ("bet", "casino_bet"):
        over = deduction(player, limited["loss"] - 300 + 1, kind)
        assert await refused(wallet.DeductBalance(over, metadata=key)) == PASSED
    assert await cash(wallet, player, key) == 700
    # What is no stake counts nowhere.
    taken_out = deduction(player, 200, "withdrawal")
    assert (await wallet.DeductBalance(taken_out, metadata=key)).cash == 500
    exactly = deduction(player, limited["loss"] - 300, "casino_bet")
    assert (await wallet.DeductBalance(exactly, metadata=key)).cash == 400


async def test_of_many_stakes_at_once_no_more_is_taken_than_the_limit_leaves(
    wallet: Any, player: Player, key: Metadata, limited: dict[str, int]
) -> None:
    calls = [wallet.DeductBalance(deduction(player, 30), metadata=key) for _ in range(30)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    taken = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(taken) == limited["loss"] // 30
    assert await cash(wallet, player, key) == 1000 - 30 * len(taken)


async def test_what_was_not_taken_or_came_back_is_not_counted(
    wallet: Any, player: Player, key: Metadata, limited: dict[str, int]
) -> None:
    assert limited == {"stake": 500, "loss": 400}
    # Refused by the wallet, in another currency than its own; as often as it is asked.
    foreign = deduction(player, 400)
    foreign.currency = "USD"
    for _ in range(2):
        name = (await refused(wallet.DeductBalance(foreign, metadata=key)))[1]
        assert name == "currency-mismatch"
    # Taken and rolled back.
    undone = deduction(player, 400)
    await wallet.DeductBalance(undone, metadata=key)
    await wallet.Rollback(undoing(undone.transfer_id), metadata=key)
    # Rolled back before it came.
    late = deduction(player, 400)
    await wallet.Rollback(undoing(late.transfer_id), metadata=key)
    assert (await refused(wallet.DeductBalance(late, metadata=key)))[1] == "rolled-back"
    # Won: of 400 staked 350 are lost no more, told twice or not, and 100 more may be staked.
    played = deduction(player, 400)
    await wallet.DeductBalance(played, metadata=key)
    won = winnings(played, 350)
    for _ in range(2):
        await wallet.CreditBalance(won, metadata=key)
    assert (await refused(wallet.DeductBalance(deduction(player, 101), metadata=key))) == PASSED
    more = deduction(player, 100)
    assert (await wallet.DeductBalance(more, metadata=key)).cash == 1000 - 400 + 350 - 100


async def test_a_win_that_is_taken_back_is_lost_again(
    wallet: Any, player: Player, key: Metadata, limited: dict[str, int]
) -> None:
    played = deduction(player, limited["loss"])
    await wallet.DeductBalance(played, metadata=key)
    won = winnings(played, 400)
    await wallet.CreditBalance(won, metadata=key)
    await wallet.Rollback(undoing(won.transfer_id), metadata=key)
    assert (await refused(wallet.DeductBalance(deduction(player, 1), metadata=key))) == PASSED


async def test_an_id_that_comes_again_with_more_is_counted_for_the_difference(
    operator: Operator, player: Player, limited: dict[str, int]
) -> None:
    """As when the first time nobody knows whether the wallet was reached."""
    now = SystemClock().now()
    stake = identity.CountStake(
        user_id=player.user_id, stake_id=new_id(), amount=1, placed_at=now - timedelta(seconds=1)
    )
    await operator.call(identity.COUNT_STAKE, stake)
    for amount, passes in ((limited["loss"] + 1, True), (limited["loss"], False), (1, False)):
        again = identity.CountStake(
            user_id=stake.user_id, stake_id=stake.stake_id, amount=amount, placed_at=now
        )
        if passes:
            with pytest.raises(identity.LimitExceeded):
                await operator.call(identity.COUNT_STAKE, again)
        else:
            await operator.call(identity.COUNT_STAKE, again)
    other = identity.CountStake(user_id=stake.user_id, stake_id=new_id(), amount=1, placed_at=now)
    with pytest.raises(identity.LimitExceeded):
        await operator.call(identity.COUNT_STAKE, other)


async def test_who_has_no_account_has_no_limits_and_the_wallet_decides(
    wallet: Any, key: Metadata
) -> None:
    nobody = Player(new_id(), "", "")
    answer = await refused(wallet.DeductBalance(deduction(nobody, 1), metadata=key))
    assert answer == (grpc.StatusCode.NOT_FOUND, "not-found")


async def test_after_the_answer_to_an_exclusion_no_stake_is_taken(
    wallet: Any,
    player: Player,
    key: Metadata,
    door: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXCLUSION_CONFIRMED_BY", "wallet")
    await funded(wallet, player, key)
    taken, excluded = [0], asyncio.Event()
    late: list[tuple[grpc.StatusCode, str]] = []

    async def play() -> None:
        while len(late) < 3:
            after = excluded.is_set()
            try:
                await wallet.DeductBalance(deduction(player, 1), metadata=key)
                taken[0] += 1
            except grpc.aio.AioRpcError as failure:
                if after:
                    late.append((failure.code(), (failure.details() or "").partition(":")[0]))

    players = [asyncio.create_task(play()) for _ in range(3)]
    await until(lambda: asyncio.sleep(0, taken[0] > 5))
    answer = await door.post(
        "/v1/users/me/self-exclusion", json={"months": 6}, headers=player.headers
    )
    assert answer.is_success, answer.text
    left = await cash(wallet, player, key)
    excluded.set()
    await asyncio.gather(*players)
    assert set(late) == {EXCLUDED}
    assert await cash(wallet, player, key) == left == 1000 - taken[0]


async def test_without_identity_no_stake_is_taken_and_all_else_goes_on(
    wallet: Any, player: Player, key: Metadata, services: Services
) -> None:
    await funded(wallet, player, key)
    stake = deduction(player, 1)
    await services.stop("identity")
    try:
        answer = await refused(wallet.DeductBalance(stake, metadata=key))
        assert answer == (grpc.StatusCode.UNAVAILABLE, "unavailable")
        taken_out = deduction(player, 100, "withdrawal")
        assert (await wallet.DeductBalance(taken_out, metadata=key)).cash == 900
        assert (await wallet.CreditBalance(winnings(stake, 5), metadata=key)).cash == 905
    finally:
        await services("identity")

    assert (await answered(lambda: wallet.DeductBalance(stake, metadata=key))).cash == 904
