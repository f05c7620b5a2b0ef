"""casino through its messages, with the real wallet: rounds, their money, and who may see them."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from svc.casino import rules
from svc.casino.contract import (
    CASINO_BET_PLACED,
    CASINO_PAYOUT_COMPLETE,
    CLOSE_SESSION,
    GAME_TOTALS,
    GET_SESSION,
    LIST_GAMES,
    OPEN_SESSION,
    PLAY_ROUND,
    RESULTS,
    SESSION_STARTED,
    SESSION_SUMMARY,
    CasinoPayoutComplete,
    CurrencyMismatch,
    GameTotalsOf,
    InsufficientFunds,
    LimitExceeded,
    ListGames,
    OpenSession,
    PlayRound,
    RoundPlayed,
    SelfExcluded,
    SessionClosed,
    SessionOf,
    SessionOpened,
    SessionState,
)
from svc.identity import contract as identity
from svc.marketing import contract as marketing
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import IdempotencyMismatch, Invalid, NotFound
from svc.notification import contract as notification
from svc.payment import contract as payment
from svc.wallet import contract as wallet
from tests.casino.players import balance_becomes, new_player, pay_in
from tests.identity.people import registered
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until

DICE: dict[str, Any] = {"target": 50, "over": True}


@pytest.fixture(scope="module", autouse=True)
async def _running(services: Services) -> None:
    await services.stop("marketing")  # no bonus shall pay for what a player cannot
    await services("wallet", "casino")


async def opened(operator: Operator, user_id: str, game_id: str = "dice") -> SessionOpened:
    return await operator.call(OPEN_SESSION, OpenSession(user_id=user_id, game_id=game_id))


def a_round(user_id: str, session_id: str, **changes: Any) -> PlayRound:
    request = PlayRound(
        user_id=user_id,
        session_id=session_id,
        idempotency_key=new_id(),
        stake=1_000,
        currency="EUR",
        choice=DICE,
    )
    return msgspec.structs.replace(request, **changes)


async def test_the_lobby_shows_games_with_their_exact_returns(operator: Operator) -> None:
    games = await operator.call(LIST_GAMES, ListGames())
    assert {game.game_id: game.rtp for game in games.items} == {"dice": "0.9900", "slots": "0.9520"}
    assert all(game.min_stake < game.max_stake and game.paytable for game in games.items)


@pytest.mark.parametrize(("game_id", "choice"), [("dice", DICE), ("slots", None)])
async def test_a_round_takes_the_stake_and_pays_what_the_seeds_say(
    operator: Operator, game_id: str, choice: dict[str, Any] | None
) -> None:
    user_id = await new_player(operator, 100_000)
    session = await opened(operator, user_id, game_id)
    request = a_round(user_id, session.session_id, choice=choice)
    played = await operator.call(PLAY_ROUND, request)
    assert played.nonce == 0
    await balance_becomes(operator, user_id, 100_000 - 1_000 + played.payout)
    closed = await operator.call(
        CLOSE_SESSION, SessionOf(user_id=user_id, session_id=session.session_id)
    )
    assert closed.server_seed is not None
    assert rules.commitment(closed.server_seed) == session.server_seed_hash
    seeds = (closed.server_seed, session.client_seed)
    again = rules.play(rules.GAMES[game_id], choice, 1_000, seeds, 0)
    assert (again.outcome, again.payout) == (played.outcome, played.payout)


async def test_every_round_says_that_it_was_placed_and_that_it_is_over(operator: Operator) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    played = [
        await operator.call(PLAY_ROUND, a_round(user_id, session.session_id)) for _ in range(4)
    ]
    started = await operator.heard(SESSION_STARTED, lambda data: data.user_id == user_id)
    assert started.data.session_id == session.session_id
    bets = await operator.all_heard(
        CASINO_BET_PLACED, lambda data: data.user_id == user_id, count=4
    )
    ends = await operator.all_heard(
        CASINO_PAYOUT_COMPLETE, lambda data: data.user_id == user_id, count=4
    )
    assert [end.data.payout for end in ends] == [one.payout for one in played]
    assert [bet.data.round_id for bet in bets] == [one.round_id for one in played]
    for bet, end in zip(bets, ends, strict=True):
        assert bet.data.stake_transfer_id == end.data.stake_transfer_id != end.data.transfer_id
        assert bet.data.stake == end.data.stake == 1_000


async def test_the_same_request_sent_ten_times_at_once_is_one_round(operator: Operator) -> None:
    user_id = await new_player(operator, 50_000)
    session = await opened(operator, user_id)
    request = a_round(user_id, session.session_id)
    answers = await asyncio.gather(*(operator.call(PLAY_ROUND, request) for _ in range(10)))
    assert answers == [answers[0]] * 10
    await balance_becomes(operator, user_id, 49_000 + answers[0].payout)
    with pytest.raises(IdempotencyMismatch):
        await operator.call(PLAY_ROUND, msgspec.structs.replace(request, stake=1_001))
    state = await state_of(operator, user_id, session.session_id)
    assert (state.rounds, state.staked, state.paid) == (1, 1_000, answers[0].payout)


async def state_of(operator: Operator, user_id: str, session_id: str) -> SessionState:
    return await operator.call(GET_SESSION, SessionOf(user_id=user_id, session_id=session_id))


async def test_rounds_at_once_get_a_nonce_each(operator: Operator) -> None:
    user_id = await new_player(operator, 50_000)
    session = await opened(operator, user_id)
    requests = [a_round(user_id, session.session_id) for _ in range(12)]
    played = await asyncio.gather(*(operator.call(PLAY_ROUND, request) for request in requests))
    assert sorted(one.nonce for one in played) == list(range(12))
    await balance_becomes(operator, user_id, 50_000 - 12_000 + sum(one.payout for one in played))


async def test_a_refusal_of_the_wallet_is_the_rounds_answer_for_ever(operator: Operator) -> None:
    user_id = await new_player(operator, 999)
    session = await opened(operator, user_id)
    request = a_round(user_id, session.session_id)
    with pytest.raises(InsufficientFunds):
        await operator.call(PLAY_ROUND, request)
    await pay_in(operator, user_id, 5_000)
    await balance_becomes(operator, user_id, 5_999)
    with pytest.raises(InsufficientFunds):
        await operator.call(PLAY_ROUND, request)
    with pytest.raises(CurrencyMismatch):
        await operator.call(PLAY_ROUND, a_round(user_id, session.session_id, currency="USD"))
    await balance_becomes(operator, user_id, 5_999)
    assert (await state_of(operator, user_id, session.session_id)).rounds == 0


async def test_who_has_no_wallet_cannot_play(operator: Operator) -> None:
    user_id = new_id()
    session = await opened(operator, user_id)
    with pytest.raises(NotFound):
        await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))


async def test_a_session_is_its_players_own(operator: Operator) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    stranger = SessionOf(user_id=new_id(), session_id=session.session_id)
    for call in (GET_SESSION, CLOSE_SESSION):
        with pytest.raises(NotFound):
            await operator.call(call, stranger)
    with pytest.raises(NotFound):
        await operator.call(PLAY_ROUND, a_round(stranger.user_id, session.session_id))
    with pytest.raises(NotFound):
        await operator.call(OPEN_SESSION, OpenSession(user_id=user_id, game_id="roulette"))


async def test_the_seed_is_secret_until_the_session_closes_and_then_nobody_plays(
    operator: Operator,
) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    request = a_round(user_id, session.session_id)
    played = await operator.call(PLAY_ROUND, request)
    state = await state_of(operator, user_id, session.session_id)
    assert (state.status, state.server_seed, state.last_round) == ("open", None, played)
    mine = SessionOf(user_id=user_id, session_id=session.session_id)
    closed = await operator.call(CLOSE_SESSION, mine)
    assert closed == await operator.call(CLOSE_SESSION, mine)
    assert closed.status == "closed"
    with pytest.raises(SessionClosed):
        await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))
    assert await operator.call(PLAY_ROUND, request) == played
    summary = await operator.heard(
        SESSION_SUMMARY, lambda data: data.session_id == session.session_id
    )
    assert (summary.data.rounds, summary.data.paid) == (1, played.payout)


async def test_what_may_not_be_played_uses_no_nonce_up(operator: Operator) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    for stake in (9, 100_001):
        with pytest.raises(LimitExceeded) as refusal:
            await operator.call(PLAY_ROUND, a_round(user_id, session.session_id, stake=stake))
        assert refusal.value.members == {"min_stake": 10, "max_stake": 100_000}
    for choice in (None, {"target": 1, "over": True}, {"free_spin": 1}):
        with pytest.raises(Invalid):
            await operator.call(PLAY_ROUND, a_round(user_id, session.session_id, choice=choice))
    played = await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))
    assert played.nonce == 0


async def test_an_excluded_player_opens_no_session_and_plays_no_round(operator: Operator) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    end = SystemClock().now() + timedelta(days=180)
    excluded = identity.SelfExcludedData(user_id=user_id, until=end, time_out=False)
    await operator.publish(identity.SELF_EXCLUDED, excluded, subject=user_id)

    async def refused() -> bool:
        try:
            await opened(operator, user_id)
        except SelfExcluded:
            return True
        return False

    await until(refused, "sessions are refused")
    with pytest.raises(SelfExcluded):
        await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))
    await balance_becomes(operator, user_id, 10_000)


async def test_stakes_and_losses_stay_below_what_the_player_allowed_themselves(
    operator: Operator, platform: Platform, services: Services
) -> None:
    await services("identity")
    user_id, _ = await registered(operator)
    await pay_in(operator, user_id, 10_000)
    await balance_becomes(operator, user_id, 10_000)
    sessions = [await opened(operator, user_id) for _ in range(4)]
    limit = identity.SetLimits(user_id=user_id, kind="stake", period="day", amount=250)
    await operator.call(identity.SET_LIMITS, limit)

    async with platform.database("casino") as database:

        async def known() -> bool:
            query = "SELECT true FROM player_limits WHERE user_id = $1"
            return bool(await database.fetchval(query, user_id))

        await until(known, "the limit is known")
    with pytest.raises(LimitExceeded) as refusal:
        await operator.call(PLAY_ROUND, a_round(user_id, sessions[0].session_id, stake=251))
    assert refusal.value.members["left"] == 250
    outcomes = await asyncio.gather(
        *(
            operator.call(PLAY_ROUND, a_round(user_id, session.session_id, stake=100))
            for session in sessions
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, RoundPlayed) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, LimitExceeded) for outcome in outcomes) == 2


async def test_after_a_refunded_deposit_high_stakes_are_refused(operator: Operator) -> None:
    user_id = await new_player(operator, 200_000)
    session = await opened(operator, user_id)
    refunded = payment.PaymentRefunded(
        payment_id=new_id(), user_id=user_id, amount=100, currency="EUR"
    )
    await operator.publish(payment.PAYMENT_REFUNDED, refunded, subject=refunded.payment_id)

    async def refused() -> bool:
        try:
            await operator.call(PLAY_ROUND, a_round(user_id, session.session_id, stake=10_001))
        except LimitExceeded:
            return True
        return False

    await until(refused, "high stakes are refused")
    assert await operator.call(PLAY_ROUND, a_round(user_id, session.session_id, stake=10_000))


async def test_each_round_is_pushed_to_those_who_follow_the_session(operator: Operator) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    frames = await operator.connection.subscribe(RESULTS.subject(session.session_id))
    await operator.connection.flush()
    played = await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))
    message = await frames.next_msg(timeout=5)
    frame = msgspec.json.decode(message.data, type=SessionState)
    assert frame.last_round == played
    assert frame.server_seed is None
    assert frame.rounds == 1
    await frames.unsubscribe()


async def test_totals_count_a_round_once_however_often_it_is_delivered(
    operator: Operator, platform: Platform
) -> None:
    game_id, event_id = "test-game", new_id()
    over = CasinoPayoutComplete(
        round_id=new_id(), session_id=new_id(), user_id=new_id(), game_id=game_id, stake=300,
        payout=120, currency="XTS", transfer_id=new_id(), stake_transfer_id=new_id(),
    )  # fmt: skip
    for _ in range(5):
        await operator.publish(
            CASINO_PAYOUT_COMPLETE, over, subject=over.round_id, event_id=event_id
        )
    second = msgspec.structs.replace(over, round_id=new_id(), transfer_id=new_id())
    await operator.publish(CASINO_PAYOUT_COMPLETE, second, subject=over.round_id)

    async def counted() -> bool:
        totals = await operator.call(GAME_TOTALS, GameTotalsOf())
        return [
            (total.rounds, total.staked, total.paid)
            for total in totals.items
            if total.game_id == game_id
        ] == [(2, 600, 240)]

    await until(counted, "two rounds are counted")
    async with platform.database("casino") as connection:
        seen = await connection.fetchval(
            "SELECT count(*) FROM mesh_inbox WHERE event_id = $1", event_id
        )
    assert seen == 1


async def test_a_delivered_notice_and_a_withdrawal_and_spins_are_noted(
    operator: Operator, platform: Platform
) -> None:
    user_id = await new_player(operator, 10_000)
    session = await opened(operator, user_id)
    played = await operator.call(PLAY_ROUND, a_round(user_id, session.session_id))
    over = await operator.heard(
        CASINO_PAYOUT_COMPLETE, lambda data: data.round_id == played.round_id
    )
    delivered = notification.NotificationDelivered(
        message_id=new_id(), user_id=user_id, template="casino.payout", channel="sms",
        cause=over.id,
    )  # fmt: skip
    await operator.publish(
        notification.NOTIFICATION_DELIVERED, delivered, subject=delivered.message_id
    )
    wanted = payment.WithdrawalRequested(
        withdrawal_id=new_id(), user_id=user_id, amount=100, currency="EUR"
    )
    await operator.publish(payment.WITHDRAWAL_REQUESTED, wanted, subject=wanted.withdrawal_id)
    bonus = marketing.BonusAwarded(
        award_id=new_id(), user_id=user_id, campaign="welcome", kind="free_spins", amount=0,
        currency="EUR", spins=20, transfer_id=new_id(), expires_at=None,
    )  # fmt: skip
    await operator.publish(marketing.BONUS_AWARDED, bonus, subject=bonus.award_id)

    async def noted() -> bool:
        async with platform.database("casino") as connection:
            row = await connection.fetchrow(
                """SELECT notified_at IS NOT NULL AND withdrawal_requested_at IS NOT NULL AS noted
                   FROM rounds JOIN players USING (user_id) WHERE round_id = $1""",
                played.round_id,
            )
        return bool(row and row["noted"])

    await until(noted, "notice and withdrawal are on record")

    async def in_the_lobby() -> bool:
        return (await opened(operator, user_id)).free_spins == 20

    await until(in_the_lobby, "the lobby knows 20 spins")


async def test_the_ledger_is_sound_after_all_rounds(operator: Operator) -> None:
    report = await operator.call(wallet.AUDIT, wallet.Audit())
    assert report.healthy, report.violations
