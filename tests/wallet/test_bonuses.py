"""Bonus money that becomes cash: decided on the balance of the moment, once, in order."""

import pytest
from msgspec.structs import replace

from svc.marketing import contract as marketing
from svc.mesh.clock import new_id
from svc.mesh.errors import Refused
from svc.mesh.types import AMOUNT_MAX
from svc.wallet import rules
from svc.wallet.book import Book, Money
from svc.wallet.contract import AlreadySettled, BalanceTooLarge, CurrencyMismatch
from svc.wallet.operations import EndBonus
from tests.support.mesh import Operator
from tests.support.platform import Platform
from tests.wallet.known import ANN, NEW, book, left
from tests.wallet.player import Player
from tests.wallet.test_events import changed, decided

INTO_CASH = EndBonus(
    transfer_id=NEW, user_id=ANN, amount=50, kept=0, currency="EUR", kind="bonus_conversion",
    reference="r",
)  # fmt: skip
ABOVE = replace(INTO_CASH, amount=AMOUNT_MAX, kind="bonus_expiry")
KEEPS = replace(INTO_CASH, kept=20)


@pytest.mark.parametrize(
    ("before", "operation", "change"),
    [
        pytest.param(book(9, 30), INTO_CASH, Money(30, -30), id="all that is left"),
        pytest.param(book(9, 80), INTO_CASH, Money(50, -50), id="at most the cap"),
        pytest.param(book(9, 30), KEEPS, Money(10, -10), id="not what other bonuses gave"),
        pytest.param(book(9, 15), KEEPS, Money(), id="nothing is left"),
        pytest.param(book(0, 30, 8), INTO_CASH, Money(30, -30), id="a debt is cleared first"),
        pytest.param(book(9, 30), ABOVE, Money(0, -30), id="taken back above the cap"),
        pytest.param(left(9), INTO_CASH, Money(), id="of who left"),
    ],
)
def test_a_bonus_becomes_cash_or_is_taken_back(
    before: Book, operation: EndBonus, change: Money
) -> None:
    plan = rules.decide(operation, before)
    assert plan.change == change
    assert {leg.contra for leg in plan.legs()} <= {"promotions"}


def test_what_cannot_become_cash_is_refused() -> None:
    dollars = replace(INTO_CASH, currency="USD")
    with pytest.raises(CurrencyMismatch):
        rules.decide(dollars, book(0, 30))
    with pytest.raises(BalanceTooLarge):
        rules.decide(INTO_CASH, book(AMOUNT_MAX, 30))


def award(player: Player, amount: int) -> marketing.BonusAwarded:
    return marketing.BonusAwarded(
        award_id=new_id(), user_id=player.user_id, campaign="first-deposit", kind="bonus",
        amount=amount, currency="EUR", spins=0, transfer_id=new_id(), expires_at=None,
    )  # fmt: skip


def conversion(
    player: Player, amount: int, kept: int = 0, after: str | None = None
) -> marketing.BonusConverted:
    return marketing.BonusConverted(
        award_id=new_id(), user_id=player.user_id, amount=amount, kept=kept, currency="EUR",
        transfer_id=new_id(), expiry_transfer_id=new_id(), after=after,
    )  # fmt: skip


async def test_a_bonus_becomes_cash_up_to_its_cap_once_and_stands_in_the_statement(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    await ann.give(90, "bonus")
    converted = conversion(ann, 50, kept=30)
    for _ in range(2):  # other ids of the event: told twice
        await operator.publish(marketing.BONUS_CONVERTED, converted, subject=ann.user_id)
    moved = await changed(ann, converted.transfer_id)
    assert (moved.kind, moved.amount, moved.cash, moved.bonus) == ("bonus_conversion", 0, 150, 40)
    moved = await changed(ann, converted.expiry_transfer_id)
    assert (moved.kind, moved.amount, moved.bonus) == ("bonus_expiry", -10, 30)
    # Whatever comes later of this player comes after the second telling.
    last = conversion(ann, 0, kept=30)
    await operator.publish(marketing.BONUS_CONVERTED, last, subject=ann.user_id)
    assert await decided(platform, last.transfer_id) == ("applied", None)
    assert await ann.money() == (150, 30, 0)
    lines = [(line.account, line.amount, line.kind) for line in await ann.entries()]
    assert lines[-3:] == [
        ("cash", 50, "bonus_conversion"),
        ("bonus", -50, "bonus_conversion"),
        ("bonus", -10, "bonus_expiry"),
    ]


async def test_bonus_money_moves_in_the_order_of_the_decisions_however_the_events_come(
    ann: Player, operator: Operator, platform: Platform
) -> None:
    given = award(ann, 40)
    converted = conversion(ann, 500, after=given.transfer_id)
    forfeited = marketing.BonusExpired(
        award_id=new_id(), user_id=ann.user_id, amount=AMOUNT_MAX, currency="EUR",
        transfer_id=new_id(), forfeited=True, after=converted.transfer_id,
    )  # fmt: skip
    # Other subjects, as if others worked on them: nothing but the wallet keeps them in order.
    await operator.publish(marketing.BONUS_EXPIRED, forfeited, subject=new_id())
    await operator.publish(marketing.BONUS_CONVERTED, converted, subject=new_id())
    await operator.publish(marketing.BONUS_AWARDED, given, subject=new_id())
    for transfer_id in (given.transfer_id, converted.transfer_id, forfeited.transfer_id):
        assert await decided(platform, transfer_id) == ("applied", None)
    assert await ann.money() == (140, 0, 0)


async def test_what_became_cash_is_not_rolled_back(ann: Player, operator: Operator) -> None:
    await ann.give(40, "bonus")
    converted = conversion(ann, 40)
    await operator.publish(marketing.BONUS_CONVERTED, converted, subject=ann.user_id)
    await changed(ann, converted.transfer_id)
    with pytest.raises(AlreadySettled):
        await ann.rollback(converted.transfer_id)
    with pytest.raises(Refused):
        await ann.take(141)
