"""The wallet's calls through the broker: what the callers of a seamless wallet try."""

import asyncio
from uuid import uuid4

import msgspec
import pytest
from msgspec.structs import replace
from nats.js.errors import KeyNotFoundError

from svc.mesh.clock import new_id
from svc.mesh.errors import Invalid, NotFound
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import contract as wallet
from svc.wallet.contract import (
    AlreadySettled,
    BalanceTooLarge,
    CurrencyMismatch,
    InsufficientFunds,
    TransferConflict,
)
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until
from tests.wallet.player import Player, item_of


async def test_a_player_without_a_wallet_is_not_found(ann: Player, operator: Operator) -> None:
    stranger = Player(operator)
    with pytest.raises(NotFound):
        await stranger.balance()
    with pytest.raises(NotFound):
        await stranger.entries()
    stake = stranger.transfer(1, "bet")
    with pytest.raises(NotFound):
        await stranger.deduct(stake)
    await stranger.give(5)
    with pytest.raises(NotFound):
        await stranger.deduct(stake)
    assert await ann.money() == (100, 0, 0)


async def test_the_same_request_again_gets_the_same_answer_and_moves_money_once(
    ann: Player,
) -> None:
    stake = ann.transfer(30, "bet")
    first = await ann.deduct(stake)
    await ann.take(5)
    assert await ann.deduct(stake) == first
    assert (first.cash, first.available) == (70, 70)
    assert await ann.money() == (65, 0, 0)


async def test_the_same_id_with_another_body_is_a_conflict_and_moves_nothing(
    ann: Player, operator: Operator
) -> None:
    stake = ann.transfer(30, "bet")
    await ann.deduct(stake)
    bob = Player(operator)
    await bob.give(100)
    for other in (
        ann.transfer(31, "bet", stake.transfer_id),
        ann.transfer(30, "casino_bet", stake.transfer_id),
        ann.transfer(30, "bet", stake.transfer_id, currency="USD"),
        bob.transfer(30, "bet", stake.transfer_id),
    ):
        with pytest.raises(TransferConflict):
            await ann.deduct(other)
    with pytest.raises(TransferConflict):
        await ann.credit(stake)
    with pytest.raises(TransferConflict):
        await ann.release(new_id(), stake.transfer_id)
    assert await ann.money() == (70, 0, 0)
    assert await bob.money() == (100, 0, 0)


async def test_fifty_equal_requests_at_once_move_money_once(ann: Player) -> None:
    stake = ann.transfer(30, "bet")
    answers = await asyncio.gather(*(ann.deduct(stake) for _ in range(50)))
    assert set(answers) == {answers[0]}
    assert await ann.money() == (70, 0, 0)


async def test_of_two_stakes_at_once_that_together_exceed_the_balance_one_is_refused(
    ann: Player,
) -> None:
    answers = await asyncio.gather(ann.take(80), ann.take(80), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["InsufficientFunds", "Receipt"]
    assert await ann.money() == (20, 0, 0)


async def test_many_players_at_once_across_batches_neither_deadlock_nor_lose_a_unit(
    ann: Player, operator: Operator
) -> None:
    players = [ann, *(Player(operator) for _ in range(5))]
    for player in players[1:]:
        await player.give(100)

    async def shuffle(turn: int) -> None:
        order = players[turn % 6 :] + players[: turn % 6]
        results = await ann.batch(
            *(item_of("deduct_balance", player.transfer(1, "bet")) for player in order),
            *(item_of("credit_balance", player.transfer(2, "deposit")) for player in order[::-1]),
        )
        assert all(result.receipt for result in results)

    await asyncio.gather(*(shuffle(turn) for turn in range(30)))
    assert [await player.money() for player in players] == [(130, 0, 0)] * 6


async def test_twenty_first_credits_at_once_open_one_wallet(
    ann: Player, operator: Operator
) -> None:
    new = Player(operator)
    await asyncio.gather(*(new.give(1) for _ in range(20)), *(ann.give(1) for _ in range(5)))
    assert await new.money() == (20, 0, 0)
    assert await ann.money() == (105, 0, 0)


async def test_a_refusal_is_kept_and_tells_the_balance_of_then(ann: Player) -> None:
    stake = ann.transfer(101, "bet")
    with pytest.raises(InsufficientFunds) as refused:
        await ann.deduct(stake)
    assert refused.value.members == {
        "currency": "EUR", "cash": 100, "bonus": 0, "held": 0, "available": 100,
    }  # fmt: skip
    await ann.give(100)
    with pytest.raises(InsufficientFunds) as again:
        await ann.deduct(stake)
    assert (again.value.detail, again.value.members) == (
        refused.value.detail, refused.value.members,
    )  # fmt: skip
    assert (await ann.take(101)).cash == 99


async def test_a_request_of_zero_is_answered_and_recorded_and_moves_nothing(ann: Player) -> None:
    stake = ann.transfer(0, "casino_bet")
    receipt = await ann.deduct(stake)
    assert receipt.cash == 100
    await ann.take(10)
    assert await ann.deduct(stake) == receipt
    assert (await ann.give(0, "casino_payout", stake=stake.transfer_id)).cash == 90
    with pytest.raises(AlreadySettled):
        await ann.rollback(stake.transfer_id)


async def test_another_currency_is_refused_and_nothing_is_booked(ann: Player) -> None:
    with pytest.raises(CurrencyMismatch):
        await ann.credit(ann.transfer(5, "deposit", currency="USD"))
    assert len(await ann.entries()) == 1


async def test_a_balance_beyond_what_messages_carry_is_refused(ann: Player) -> None:
    with pytest.raises(BalanceTooLarge):
        await ann.give(AMOUNT_MAX)
    assert (await ann.give(AMOUNT_MAX - 100)).cash == AMOUNT_MAX


async def test_bonus_money_is_staked_after_cash_and_wins_follow_the_split(ann: Player) -> None:
    await ann.give(60, "bonus")
    stake = ann.transfer(120, "bet")
    receipt = await ann.deduct(stake)
    assert (receipt.cash, receipt.bonus) == (0, 40)
    await ann.give(50)
    paid = await ann.give(240, "bet_payout", stake=stake.transfer_id)
    assert (paid.cash, paid.bonus) == (250, 80)
    with pytest.raises(InsufficientFunds):
        await ann.take(251, "withdrawal")


async def test_a_batch_is_decided_in_order_each_on_its_own(ann: Player) -> None:
    stake, win = ann.transfer(80, "bet"), ann.transfer(70, "prize")
    buried = ann.transfer(1, "bet")
    results = await ann.batch(
        item_of("deduct_balance", stake),
        item_of("deduct_balance", ann.transfer(80, "bet")),
        item_of("credit_balance", win),
        item_of("deduct_balance", stake),
        item_of("deduct_balance", ann.transfer(90, "bet")),
        wallet.BatchItem(op="hold", transfer_id=new_id(), user_id=ann.user_id),
        wallet.BatchItem(
            op="rollback", transfer_id=new_id(), original_transfer_id=stake.transfer_id
        ),
        wallet.BatchItem(
            op="rollback", transfer_id=new_id(), original_transfer_id=buried.transfer_id
        ),
        item_of("deduct_balance", buried),
    )
    told = [
        result.receipt.cash if result.receipt else str((result.problem or {})["type"])
        for result in results
    ]
    refused = "urn:betmesh:problem:"
    assert told == [
        20, refused + "insufficient-funds", 90, 20, 0, refused + "validation", 80, 0,
        refused + "rolled-back",
    ]  # fmt: skip
    assert results[0] == results[3]
    assert await ann.money() == (80, 0, 0)


async def test_a_batch_answers_as_the_same_requests_one_by_one(ann: Player) -> None:
    hold_id, hold_transfer = new_id(), new_id()
    await ann.hold(10, hold_id, hold_transfer)
    [again, captured] = await ann.batch(
        wallet.BatchItem(
            op="hold",
            transfer_id=hold_transfer,
            hold_id=hold_id,
            user_id=ann.user_id,
            amount=10,
            currency="EUR",
            kind="withdrawal",
            reference="test",
        ),
        wallet.BatchItem(op="capture", transfer_id=new_id(), hold_id=hold_id),
    )
    assert again.receipt
    assert again.receipt.held == 10
    assert captured.receipt
    assert captured.receipt.cash == 90


async def test_entries_are_paged_newest_first_and_sum_to_the_balances(ann: Player) -> None:
    await ann.give(50, "bonus")
    hold_id = new_id()
    await ann.hold(30, hold_id)
    await ann.take(100)
    await ann.capture(hold_id, 20)
    entries = await ann.entries()
    sums = {"cash": 0, "bonus": 0, "held": 0}
    for entry in entries:
        sums[entry.account] += entry.amount
        assert entry.balance_after == sums[entry.account]
    assert (sums["cash"], sums["bonus"], sums["held"]) == await ann.money()
    assert len({entry.entry_id for entry in entries}) == len(entries) == 7
    with pytest.raises(Invalid):
        await ann.operator.call(
            wallet.ENTRIES, wallet.EntriesOf(user_id=ann.user_id, cursor="elsewhere")
        )


async def test_bad_amounts_ids_and_texts_are_refused_as_invalid(ann: Player) -> None:
    good = (
        f'{{"transfer_id":"{new_id()}","user_id":"{ann.user_id}","amount":1,"currency":"EUR",'
        '"kind":"bet","reference":"r"}'
    )
    for bad in (
        good.replace('"amount":1', '"amount":-1'),
        good.replace('"amount":1', '"amount":1.5'),
        good.replace('"amount":1', '"amount":1e30'),
        good.replace('"amount":1', f'"amount":{AMOUNT_MAX + 1}'),
        good.replace('"amount":1', '"amount":"1"'),
        good.replace('"bet"', '"gift"'),
        good.replace("EUR", "eur"),
        good.replace(ann.user_id, "ann"),
        good.replace('"r"', '"\\u0000"'),
        good.replace('"r"', '"r","extra":1'),
        "[]",
    ):
        reply = await ann.operator.connection.request(
            wallet.DEDUCT_BALANCE.subject, bad.encode(), timeout=5
        )
        assert (reply.headers or {})["Nats-Service-Error-Code"] == "400", bad
    assert await ann.money() == (100, 0, 0)


async def test_ids_of_any_version_of_uuid_will_do(ann: Player) -> None:
    for transfer_id in (str(uuid4()), "00000000-0000-0000-0000-000000000000"):
        stake = ann.transfer(1, "bet", transfer_id)
        assert await ann.deduct(stake) == await ann.deduct(stake)
    assert await ann.money() == (98, 0, 0)


async def test_entries_have_titles_in_the_language_asked_for(
    ann: Player, services: Services
) -> None:
    await services("localization")
    titles: set[str] = set()
    while len(titles) < len(("Deposit", "Einzahlung")):
        for locale in ("en", "de"):
            page = await ann.operator.call(
                wallet.ENTRIES, wallet.EntriesOf(user_id=ann.user_id, locale=locale)
            )
            titles |= {entry.title for entry in page.items} - {"kind.deposit"}
    assert titles == {"Deposit", "Einzahlung"}


async def test_every_moved_balance_is_told_once_with_the_balances_after(
    ann: Player, operator: Operator
) -> None:
    stake = ann.transfer(30, "bet")
    for _ in range(2):
        await ann.deduct(stake)
    with pytest.raises(InsufficientFunds):
        await ann.take(71)
    await ann.take(0)
    await ann.rollback(stake.transfer_id)
    told = await operator.all_heard(
        wallet.BALANCE_CHANGED, lambda data: data.user_id == ann.user_id, count=3
    )
    assert [(event.data.kind, event.data.amount, event.data.cash) for event in told] == [
        ("deposit", 100, 100),
        ("bet", -30, 70),
        ("bet", 30, 100),
    ]
    assert {event.subject for event in told} == {ann.user_id}


async def test_the_cache_shows_the_last_committed_balance(ann: Player, platform: Platform) -> None:
    await ann.take(30)
    committed = await ann.balance()
    async with platform.nats("wallet") as connection:
        bucket = await connection.jetstream().key_value("wallet")

        async def shown() -> bool:
            try:
                value = (await bucket.get(ann.user_id)).value
            except KeyNotFoundError:
                return False
            return msgspec.json.decode(value or b"null", type=wallet.Balance | None) == committed

        await until(shown, "the last balance is in the cache")
    assert committed.cash == 70


REFERENCES = (
    'a "quoted" one', "it's", "back\\slash", "\\", '"', "{braces}", "comma, comma", "NULL", "null",
    "two\nlines", "tab\t", " blank ", "é\u2028\U0001f3b2", "\x7f", "\x01", "\\u0041", "$1", "--",
)  # fmt: skip


async def test_a_reference_is_kept_as_it_was_given(ann: Player) -> None:
    stakes = [replace(ann.transfer(1, "bet"), reference=text) for text in REFERENCES]
    results = await ann.batch(*(item_of("deduct_balance", stake) for stake in stakes))
    assert [result.problem for result in results] == [None] * len(stakes)
    for stake in (replace(ann.transfer(1, "bet"), reference=text) for text in REFERENCES):
        await ann.deduct(stake)  # each in a batch of its own
    kept = [entry.reference for entry in await ann.entries() if entry.kind == "bet"]
    assert sorted(kept) == sorted(REFERENCES * 2)


async def test_totals_sum_what_each_kind_moved_and_net_rollbacks(
    services: Services, operator: Operator
) -> None:
    await services("wallet")
    player = Player(operator, "XTS")
    await player.give(100)
    await player.give(50, "bonus")
    stake = player.transfer(120, "bet")
    await player.deduct(stake)
    await player.take(20, "casino_bet")
    await player.rollback(stake.transfer_id)
    entries = await player.entries()
    span = wallet.TotalsOf(since=entries[0].at, until=entries[-1].at)
    before_last = await operator.call(wallet.TOTALS, span)
    mine = {t.kind: (t.amount, t.transfers) for t in before_last.totals if t.currency == "XTS"}
    assert mine == {
        "deposit": (100, 1), "bonus": (50, 1), "bet": (-120, 1), "casino_bet": (-20, 1),
    }  # fmt: skip
