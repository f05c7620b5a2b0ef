"""reporting on the real broker and database, reconciled with the real ledger."""

import itertools
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from svc.casino import contract as casino
from svc.gaming import contract as gaming
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.caller import Caller
from svc.mesh.clock import new_id
from svc.mesh.errors import Forbidden, Invalid, NotFound
from svc.payment import contract as payment
from svc.reporting.contract import (
    COUNTS,
    DAILY,
    RECONCILE,
    CountsOf,
    DailyOf,
    DailyReport,
    Difference,
    ReconcileOf,
    Reconciliation,
)
from svc.scheduler import contract as scheduler
from svc.sportsbook import contract as sportsbook
from svc.wallet import contract as wallet
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
async def _running(services: Services) -> None:
    await services("localization", "wallet", "reporting")


@pytest.fixture
def currency() -> str:
    """A currency of its own for each test, so that nothing else is in its sums."""
    number = next(NUMBERS)
    return f"Q{chr(65 + number // 26)}{chr(65 + number % 26)}"


async def reconciled(operator: Operator, currency: str) -> dict[str, Difference]:
    """The comparison of today and yesterday, for one currency."""
    today = datetime.now(UTC).date()
    answer = await operator.call(
        RECONCILE, ReconcileOf(since=today - timedelta(days=1), until=today)
    )
    return {item.kind: item for item in answer.items if item.currency == currency}


async def registered(operator: Operator, currency: str) -> str:
    user_id = new_id()
    await operator.publish(
        identity.USER_REGISTERED,
        identity.UserRegistered(
            user_id=user_id, currency=currency, locale="en", marketing_opt_in=False
        ),
        subject=user_id,
    )

    async def has_wallet() -> bool:
        try:
            await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user_id))
        except NotFound:
            return False
        return True

    await until(has_wallet)
    return user_id


def paid(user_id: str, currency: str, amount: int) -> payment.PaymentSuccess:
    return payment.PaymentSuccess(
        payment_id=new_id(), user_id=user_id, amount=amount, currency=currency, method="card",
        transfer_id=new_id(), first=False,
    )  # fmt: skip


async def test_what_events_say_agrees_with_the_ledger(operator: Operator, currency: str) -> None:
    """The events that credit go to both; stakes and withdrawals are called, then told of."""
    user = await registered(operator, currency)
    deposit = paid(user, currency, 10_000)
    await operator.publish(payment.PAYMENT_SUCCESS, deposit, subject=deposit.payment_id)

    async def credited() -> bool:
        found = await operator.call(wallet.BALANCE, wallet.BalanceOf(user_id=user))
        return found.cash == 10_000

    await until(credited)
    stake_id, bet_id = new_id(), new_id()
    await operator.call(
        wallet.DEDUCT_BALANCE,
        wallet.Transfer(
            transfer_id=stake_id, user_id=user, amount=1_000, currency=currency, kind="bet",
            reference=bet_id,
        ),
    )  # fmt: skip
    await operator.publish(
        sportsbook.BET_PLACED,
        sportsbook.BetPlaced(
            bet_id=bet_id, user_id=user, kind="single", stake=1_000, currency=currency,
            odds="2.50", potential_payout=2_500, legs=1, event_ids=["e"],
            stake_transfer_id=stake_id,
        ),
        subject=bet_id,
    )  # fmt: skip
    await operator.publish(
        sportsbook.BET_SETTLED,
        sportsbook.BetSettled(
            bet_id=bet_id, user_id=user, result="won", stake=1_000, payout=2_500,
            currency=currency, odds="2.50", transfer_id=new_id(), stake_transfer_id=stake_id,
        ),
        subject=bet_id,
    )  # fmt: skip
    await operator.publish(
        marketing.BONUS_AWARDED,
        marketing.BonusAwarded(
            award_id=new_id(), user_id=user, campaign="c", kind="bonus", amount=300,
            currency=currency, spins=0, transfer_id=new_id(), expires_at=None,
        ),
        subject=user,
    )  # fmt: skip
    await operator.publish(
        gaming.PRIZE_AWARDED,
        gaming.PrizeAwarded(
            award_id=new_id(), user_id=user, kind="raffle", source_id="r", amount=50,
            currency=currency, transfer_id=new_id(),
        ),
        subject=user,
    )  # fmt: skip

    async def all_there() -> bool:
        found = await reconciled(operator, currency)
        return len(found) == 5 and not any(item.difference for item in found.values())

    await until(all_there)
    found = await reconciled(operator, currency)
    assert {kind: (item.events, item.ledger) for kind, item in found.items()} == {
        "deposit": (10_000, 10_000),
        "bet": (-1_000, -1_000),
        "bet_payout": (2_500, 2_500),
        "bonus": (300, 300),
        "prize": (50, 50),
    }

    async def titled() -> bool:
        """Until localization has answered once, a title is its key: a report never waits for it."""
        return (await reconciled(operator, currency))["deposit"].title == "Deposits"

    await until(titled)


async def test_a_transfer_that_no_event_tells_of_is_a_difference(
    operator: Operator, currency: str
) -> None:
    user = await registered(operator, currency)
    await operator.call(
        wallet.CREDIT_BALANCE,
        wallet.Transfer(
            transfer_id=new_id(), user_id=user, amount=77, currency=currency, kind="deposit",
            reference="unknown",
        ),
    )  # fmt: skip
    found = await reconciled(operator, currency)
    assert [(item.events, item.ledger, item.difference) for item in found.values()] == [
        (0, 77, -77)
    ]
    answer: Reconciliation = await operator.call(RECONCILE, ReconcileOf())
    assert answer.agrees is False


async def daily(operator: Operator, day: date) -> DailyReport:
    return await operator.call(DAILY, DailyOf(since=day, until=day))


async def test_the_day_shows_turnover_payouts_and_ggr_by_product(
    operator: Operator, currency: str
) -> None:
    user, day = new_id(), datetime.now(UTC).date()
    for stake, payout in ((200, 0), (300, 450)):
        round_id = new_id()
        session_id = new_id()
        stake_id = new_id()
        await operator.publish(
            casino.CASINO_BET_PLACED,
            casino.CasinoBetPlaced(
                round_id=round_id, session_id=session_id, user_id=user, game_id="dice",
                stake=stake, currency=currency, stake_transfer_id=stake_id,
            ),
            subject=round_id,
        )  # fmt: skip
        await operator.publish(
            casino.CASINO_PAYOUT_COMPLETE,
            casino.CasinoPayoutComplete(
                round_id=round_id, session_id=session_id, user_id=user, game_id="dice",
                stake=stake, payout=payout, currency=currency, transfer_id=new_id(),
                stake_transfer_id=stake_id,
            ),
            subject=round_id,
        )  # fmt: skip
    for stake, refund in ((500, 500), (100, 0)):
        bet_id, stake_id = new_id(), new_id()
        await operator.publish(
            sportsbook.BET_PLACED,
            sportsbook.BetPlaced(
                bet_id=bet_id, user_id=user, kind="single", stake=stake, currency=currency,
                odds="2.00", potential_payout=2 * stake, legs=1, event_ids=["e"],
                stake_transfer_id=stake_id,
            ),
            subject=bet_id,
        )  # fmt: skip
        if refund:
            await operator.publish(
                sportsbook.BET_CANCELLED,
                sportsbook.BetCancelled(
                    bet_id=bet_id, user_id=user, stake=stake, refund=refund, currency=currency,
                    reason="void", transfer_id=new_id(), stake_transfer_id=stake_id,
                ),
                subject=bet_id,
            )  # fmt: skip

    async def shown() -> bool:
        products = [
            (each.product, each.bets, each.turnover, each.payouts, each.ggr)
            for each in (await daily(operator, day)).products
            if each.currency == currency
        ]
        return products == [("sportsbook", 2, 100, 0, 100), ("casino", 2, 500, 450, 50)]

    await until(shown)


async def test_the_cashier_counts_each_event_once(operator: Operator, currency: str) -> None:
    user, day = new_id(), datetime.now(UTC).date()
    deposit, event_id = paid(user, currency, 900), new_id()
    for _ in range(3):
        await operator.publish(
            payment.PAYMENT_SUCCESS, deposit, subject=deposit.payment_id, event_id=event_id
        )
    head = {"user_id": user, "currency": currency}
    await operator.publish(
        payment.PAYMENT_REFUNDED,
        payment.PaymentRefunded(payment_id=deposit.payment_id, amount=100, **head),
        subject=deposit.payment_id,
    )
    await operator.publish(
        payment.WITHDRAWAL_PAID,
        payment.WithdrawalPaid(withdrawal_id=new_id(), amount=250, **head),
        subject=user,
    )

    async def shown() -> bool:
        cashier = [
            (each.deposits, each.withdrawals, each.refunds)
            for each in (await daily(operator, day)).cashier
            if each.currency == currency
        ]
        return cashier == [(900, 250, 100)]

    await until(shown)


async def test_sums_beyond_a_bigint_stay_exact(operator: Operator, currency: str) -> None:
    user, most = new_id(), 9_007_199_254_740_991
    for _ in range(3):
        deposit = paid(user, currency, most)
        await operator.publish(payment.PAYMENT_SUCCESS, deposit, subject=deposit.payment_id)

    async def shown() -> bool:
        found = await reconciled(operator, currency)
        return bool(found) and found["deposit"].events == 3 * most

    await until(shown)


async def test_every_event_is_counted_by_type(operator: Operator) -> None:
    kind, user = identity.USER_LOGGED_IN, new_id()
    before = (await operator.call(COUNTS, CountsOf())).events.get(kind.type, 0)
    await operator.publish(
        kind, identity.UserLoggedIn(user_id=user, session_id=new_id()), subject=user
    )

    async def counted() -> bool:
        return (await operator.call(COUNTS, CountsOf())).events.get(kind.type, 0) == before + 1

    await until(counted)


async def test_the_daily_job_closes_the_day_before(operator: Operator, platform: Platform) -> None:
    due = datetime(2031, 5, 2, 0, 10, tzinfo=UTC)
    await operator.publish(
        scheduler.JOB_DUE,
        scheduler.JobDue(service="reporting", name="daily-report", key="", due_at=due, payload={}),
        subject="reporting.daily-report",
    )
    closed: list[str] = []

    async def stored() -> bool:
        async with platform.database("reporting") as database:
            report = await database.fetchval(
                "SELECT report FROM closed_days WHERE day = $1", date(2031, 5, 1)
            )
        closed.append(report or "")
        return report is not None

    await until(stored)
    assert msgspec.json.decode(closed[-1], type=DailyReport) == DailyReport(
        registrations={}, logins={}, products=[], cashier=[]
    )


async def test_the_report_is_read_through_the_bucket(
    operator: Operator, services: Services, platform: Platform
) -> None:
    day = date(2020, 1, 1)
    first = await daily(operator, day)
    async with platform.nats("reporting") as connection:
        bucket = services.running["reporting"].runtimes[0].own_cache().bucket
        kept = await (await connection.jetstream().key_value(bucket)).get(f"daily.{day}.{day}")
    assert kept.value is not None
    assert msgspec.json.decode(kept.value, type=DailyReport) == first


async def test_days_in_the_wrong_order_are_refused(operator: Operator) -> None:
    with pytest.raises(Invalid, match=r"`\$\.since`"):
        await operator.call(DAILY, DailyOf(since=date(2026, 1, 2), until=date(2026, 1, 1)))


async def test_players_get_no_reports(
    operator: Operator, services: Services, platform: Platform
) -> None:
    await services("identity")
    async with platform.nats("gateway") as connection:
        gateway = Operator(platform, connection)
        gateway.caller = Caller(connection, "gateway", new_id().replace("-", ""))
        await gateway.caller.start()
        with pytest.raises((Forbidden, NotFound)):
            await gateway.call(DAILY, DailyOf(actor_id=new_id()))
        with pytest.raises(Forbidden):
            await gateway.call(DAILY, DailyOf())
    assert (await daily(operator, date(2020, 1, 2))).products == []
