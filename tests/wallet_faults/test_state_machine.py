"""Whatever is asked of two running wallets, in whatever order: every answer is the model's."""

import asyncio
import random
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from itertools import chain
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs

from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound
from svc.wallet import contract as wallet
from svc.wallet.contract import BatchItem
from tests.support.mesh import Operator
from tests.wallet_faults.checks import audited
from tests.wallet_faults.model import AMOUNT_MAX, Model, Told
from tests.wallet_faults.requests import (
    ABOUT,
    STEPS,
    VERBS,
    asked,
    asked_together,
    item_of,
    items_of,
)
from tests.wallet_faults.stand import Stand

T = TypeVar("T")
PLAYERS = 2
AMOUNTS = st.sampled_from((0, 1, 30, 50, 99, 100, 100, 101, AMOUNT_MAX))
BEYOND = st.sampled_from((-1, -(2**63), AMOUNT_MAX + 1, 2**63))
CURRENCIES = st.sampled_from(("EUR", "EUR", "EUR", "EUR", "USD"))
STEP = st.tuples(
    st.sampled_from(STEPS), st.integers(0, PLAYERS - 1), AMOUNTS, CURRENCIES, st.integers(0, 5),
    st.integers(0, 9),
)  # fmt: skip
"""What, whose, how much, in what; which earlier one it is about, and 0 for any at all."""


class Driven:
    """An event loop with an operator, for tests that are not coroutines themselves."""

    def __init__(self, stand: Stand, runner: asyncio.Runner) -> None:
        """Nobody is connected."""
        self.stand = stand
        self.runner = runner
        self.stack = AsyncExitStack()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it now."""
        return self.runner.run(work)

    def open(self) -> Operator:
        """Connect."""
        return self.do(self.stack.enter_async_context(self.stand.operator()))

    def close(self) -> None:
        """Disconnect."""
        self.do(self.stack.aclose())


@pytest.fixture
def driven(stand: Stand) -> Generator[Driven]:
    """A loop of its own, with an empty ledger."""
    with asyncio.Runner() as runner:
        driven = Driven(stand, runner)
        driven.do(stand.fresh("model"))
        yield driven


class Machine(RuleBasedStateMachine):
    """Asks the wallet and the model the same.

    What was asked at once may have happened in several orders that tell the same so far: each of
    them stays possible, a model of its own, until an answer contradicts it.
    """

    driven: Driven
    operator: Operator
    wallets: int

    @initialize()
    def begin(self) -> None:
        self.models = [Model()]
        self.users = [new_id() for _ in range(PLAYERS)]
        self.items: list[BatchItem] = []

    def item(self, step: tuple[str, int, int, str, int, int]) -> BatchItem:
        what, user, amount, currency, back, fits = step
        fitting = [item for item in self.items if fits and item.op == ABOUT.get(what, item.op)]
        stranger = BatchItem(op="hold", transfer_id=new_id())
        earlier = ([*self.items, stranger] if not fitting or what == "late" else fitting)[-6:]
        item = item_of(what, earlier[-1 - back % len(earlier)], self.users[user], amount, currency)
        self.items.append(item)
        return item

    @rule(step=STEP)
    def one(self, step: tuple[str, int, int, str, int, int]) -> None:
        self.ask(self.item(step))

    @rule(step=STEP, amount=BEYOND)
    def beyond(self, step: tuple[str, int, int, str, int, int], amount: int) -> None:
        item = self.item(step)
        if item.amount is None:
            return
        self.items.pop()
        self.ask(structs.replace(item, amount=amount))

    @precondition(lambda self: self.items)
    @rule(number=st.integers(0, 50))
    def again(self, number: int) -> None:
        self.ask(self.items[number % len(self.items)])

    @precondition(lambda self: self.items)
    @rule(number=st.integers(0, 50))
    def with_another_body(self, number: int) -> None:
        item = self.items[number % len(self.items)]
        if item.amount is not None:
            self.ask(structs.replace(item, amount=item.amount + 1))

    @precondition(lambda self: self.items)
    @rule(number=st.integers(0, 50))
    def as_another_verb(self, number: int) -> None:
        old = self.items[number % len(self.items)]
        self.ask(BatchItem(op="release", transfer_id=old.transfer_id, hold_id=old.transfer_id))

    @rule(user=st.integers(0, PLAYERS - 1), amount=AMOUNTS)
    def rolled_back_before_it_comes(self, user: int, amount: int) -> None:
        late = item_of("bet", BatchItem(op="hold", transfer_id=""), self.users[user], amount)
        self.ask(item_of("rollback", late, "", 0))
        self.ask(late)
        self.items.append(late)

    @rule(steps=st.lists(STEP, min_size=1, max_size=12), twice=st.booleans())
    def batch(self, steps: list[tuple[str, int, int, str, int, int]], twice: bool) -> None:
        items = [self.item(step) for step in steps]
        items += items[: len(items) // 2] if twice else []
        told = self.driven.do(asked_together(self.operator, items))
        self.keep([[model.apply(item) for item in items] for model in self.models], told, items)

    @rule(steps=st.lists(STEP, min_size=2, max_size=3), twice=st.booleans())
    def at_once(self, steps: list[tuple[str, int, int, str, int, int]], twice: bool) -> None:
        """Some order of them explains all answers, and the balances after them."""
        items = [self.item(step) for step in steps]
        items += items[:1] if twice else []

        async def gathered() -> list[Told]:
            return await asyncio.gather(*(asked(self.operator, item) for item in items))

        waiting = list(zip(items, self.driven.do(gathered()), strict=True))
        money = self.driven.do(self.balances())
        found: list[Model] = []
        for model in self.models:
            orders = explanations(model, waiting)
            if self.wallets > 1:
                early = [*opened_early(model, items), *waiting]
                orders = chain(orders, explanations(model, early))
            for after in orders:
                if after.money == money and not any(vars(after) == vars(one) for one in found):
                    found.append(after)
        assert found, f"no order explains {waiting} and {money}"
        self.models = found

    def ask(self, item: BatchItem) -> None:
        told = self.driven.do(asked(self.operator, item))
        self.keep([model.apply(item) for model in self.models], told, item)

    def keep(self, expected: list[T], told: T, what: object) -> None:
        """Keep the models that expected what was told; there must be one."""
        assert told in expected, what
        pairs = zip(self.models, expected, strict=True)
        self.models = [model for model, guess in pairs if guess == told]

    async def balances(self) -> dict[str, list[int]]:
        """Return cash, bonus and held of the users who have a wallet."""
        found: dict[str, list[int]] = {}
        for user in self.users:
            try:
                request = wallet.BalanceOf(user_id=user)
                balance = await self.operator.call(wallet.BALANCE, request)
                found[user] = [balance.cash, balance.bonus, balance.held]
                currencies = {m.currency.get(user, balance.currency) for m in self.models}
                assert balance.currency in currencies
            except NotFound:
                continue
        return found

    @invariant()
    def balances_are_the_models(self) -> None:
        if hasattr(self, "users"):
            money = self.driven.do(self.balances())
            self.keep([model.money for model in self.models], money, "the balances")

    def teardown(self) -> None:
        assert self.driven.do(audited(self.operator)) == []


def explanations(model: Model, waiting: Sequence[tuple[BatchItem, Told | None]]) -> Iterator[Model]:
    """Yield the model after each order of operations that gives all their answers."""
    if not waiting:
        yield model
    for number, (item, answer) in enumerate(waiting):
        after = deepcopy(model)
        if answer is None:
            after.open(item.user_id or "", item.currency)
        elif after.apply(item) != answer:
            continue
        yield from explanations(after, [*waiting[:number], *waiting[number + 1 :]])


def opened_early(model: Model, items: list[BatchItem]) -> list[tuple[BatchItem, None]]:
    """Return a step without an answer for each wallet that a credit opens.

    It is opened a moment before the money comes, and another wallet process may see it empty.
    """
    opening = [item for item in items if item.op == "credit_balance"]
    return [(item, None) for item in opening if item.user_id not in model.money]


def test_the_random_operations_meet_every_refusal_and_every_success() -> None:
    met: set[tuple[str, str]] = set()
    for seed in range(8):
        model = Model()
        for item in items_of(random.Random(seed), 150):
            told = model.apply(item)
            met.add((item.op, told if isinstance(told, str) else "done"))
    assert {what for what, told in met if told == "done"} == VERBS
    assert {told for _, told in met} == {
        "done", "not-found", "conflict", "rolled-back", "already-settled", "hold-exceeded",
        "insufficient-funds", "validation",
    }  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("wallets", [1, 2])
def test_every_answer_and_balance_is_the_models(stand: Stand, driven: Driven, wallets: int) -> None:
    with stand.wallets("model", wallets):
        operator = driven.open()

        class Here(Machine):
            pass

        Here.driven, Here.operator, Here.wallets = driven, operator, wallets
        try:
            run_state_machine_as_test(
                Here,
                settings=settings(
                    max_examples=30,
                    stateful_step_count=30,
                    deadline=None,
                    database=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                ),
            )
        finally:
            driven.close()
