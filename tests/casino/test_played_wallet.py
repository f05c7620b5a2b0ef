"""The casino alone, with a wallet that answers what no real one would at will."""

from typing import Any

import pytest

from svc.casino.contract import OPEN_SESSION, PLAY_ROUND, InsufficientFunds, OpenSession, PlayRound
from svc.mesh.clock import new_id
from svc.mesh.errors import RemoteBug, Unavailable
from svc.wallet import contract as wallet
from tests.support.doubles import Stage
from tests.support.mesh import Operator

DICE: dict[str, Any] = {"target": 98, "over": False}


@pytest.fixture
async def request_of_a_round(stage: Stage, operator: Operator) -> PlayRound:
    """A round in a session of a new player; the casino is real."""
    await stage.run("casino")
    user_id = new_id()
    session = await operator.call(OPEN_SESSION, OpenSession(user_id=user_id, game_id="dice"))
    return PlayRound(
        user_id=user_id, session_id=session.session_id, idempotency_key=new_id(), stake=1_000,
        currency="EUR", choice=DICE,
    )  # fmt: skip


def receipt(request: wallet.Transfer) -> wallet.Receipt:
    """Return what a wallet with plenty of money answers."""
    return wallet.Receipt(
        transfer_id=request.transfer_id, cash=90_000, bonus=0, held=0, available=90_000
    )


async def test_a_round_without_money_is_refused_in_the_wallets_words(
    stage: Stage, operator: Operator, request_of_a_round: PlayRound
) -> None:
    played = await stage.play(wallet.WALLET)
    played.answers(wallet.DEDUCT_BALANCE, wallet.InsufficientFunds("nothing left", available=0))

    with pytest.raises(InsufficientFunds, match="nothing left"):
        await operator.call(PLAY_ROUND, request_of_a_round)

    [asked] = played.asked(wallet.DEDUCT_BALANCE)
    assert (asked.amount, asked.user_id) == (1_000, request_of_a_round.user_id)


async def test_a_wallet_that_could_not_answer_is_asked_again_with_the_same_transfer(
    stage: Stage, operator: Operator, request_of_a_round: PlayRound
) -> None:
    played = await stage.play(wallet.WALLET)
    played.answers(wallet.DEDUCT_BALANCE, Unavailable("not now"))
    with pytest.raises(Unavailable):
        await operator.call(PLAY_ROUND, request_of_a_round)

    played.answers(wallet.DEDUCT_BALANCE, receipt)
    first = await operator.call(PLAY_ROUND, request_of_a_round)

    transfers = {asked.transfer_id for asked in played.asked(wallet.DEDUCT_BALANCE)}
    assert len(transfers) == 1
    assert await operator.call(PLAY_ROUND, request_of_a_round) == first


async def test_a_double_that_answers_another_type_fails_the_test(
    stage: Stage, operator: Operator, request_of_a_round: PlayRound
) -> None:
    played = await stage.play(wallet.WALLET)
    answer: Any = wallet.Totals(totals=[])
    played.answers(wallet.DEDUCT_BALANCE, answer)
    with pytest.raises((RemoteBug, Unavailable)):
        await operator.call(PLAY_ROUND, request_of_a_round)
    with pytest.raises((RemoteBug, Unavailable)):
        await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=new_id()))

    with pytest.raises(AssertionError) as caught:
        await stage.close()

    assert "deduct_balance answers Receipt, not Totals(totals=[])" in str(caught.value)
    assert "nobody told wallet how to answer balance" in str(caught.value)
