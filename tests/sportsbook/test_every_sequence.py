"""Every sequence of results that come, change and come again, step by step, at the public doors.

A wallet of 100.00 and one bet of 10.00 at 2.00, as the table of the trade has it.
"""

import pytest

from tests.sportsbook.house_door import Account, Door, Leg, problem, won
from tests.support.mesh import Operator

WON_1, WON_2, LOST_2 = "won, scouted", "won, confirmed", "lost, confirmed"
BACK, CANCEL, UNDO, GONE = "rolled back", "cancelled", "not cancelled", "withdrawn"
R1 = [(WON_1, 11_000), (WON_2, 11_000)]
R2 = [*R1, (BACK, 9000), (LOST_2, 9000)]
R3 = [*R1, (LOST_2, 9000)]
R4 = [(WON_1, 11_000), (CANCEL, 10_000)]
R7 = [(WON_1, 11_000), (GONE, 0), (BACK, -2000)]
SEQUENCES = [
    pytest.param(R1, "settled", id="R1"),
    pytest.param(R2, "settled", id="R2"),
    pytest.param(R3, "settled", id="R3"),
    pytest.param(R4, "cancelled", id="R4"),
    pytest.param([*R4, (UNDO, 11_000)], "settled", id="a cancellation undone"),
    pytest.param(R7, "accepted", id="R7"),
]


async def begun(door: Door, operator: Operator) -> tuple[Account, str, str]:
    """Strike the bet; return its player, its event and its id."""
    account = await Account.opened(door)
    await account.is_given(operator, 10_000)
    events, bet = await account.strikes(won("2.00"), 1000)
    assert await account.cash() == 9000
    return account, events[0][0], bet["bet_id"]


@pytest.mark.parametrize(("steps", "status"), SEQUENCES)
async def test_a_bet_that_ends_otherwise_leaves_the_right_balance_after_each_step(
    door: Door, operator: Operator, steps: list[tuple[str, int]], status: str
) -> None:
    account, event_id, bet_id = await begun(door, operator)
    for step, cash in steps:
        await happens(step, account, event_id, operator)
        await account.holds(cash)
    assert await status_of(account, bet_id) == status
    if steps == R7:
        await is_in_debt(account, operator)


@pytest.mark.parametrize(("steps", "status"), SEQUENCES)
async def test_r8_whatever_is_told_twice_or_replayed_by_a_recovery_changes_nothing(
    door: Door, account: Account, operator: Operator, steps: list[tuple[str, int]], status: str
) -> None:
    player, event_id, bet_id = await begun(door, operator)
    for step, cash in steps:
        await happens(step, player, event_id, operator)
        await player.holds(cash)
        if step != GONE:
            await door.repeat()
            await door.repeat('request_id="7"')
    before = await entries(player)
    # A recovery sends all of it again, from the first message on.
    await door.repeat_all(event_id)
    await door.repeat_all(event_id, 'request_id="8"')
    await all_is_paid(account)
    assert await entries(player) == before
    assert (await player.cash(), await status_of(player, bet_id)) == (steps[-1][1], status)


async def entries(player: Account) -> list[str]:
    """Return the ids of all that ever moved in a wallet."""
    items = (await player.get("/v1/wallet/entries?limit=100"))["items"]
    return [each["entry_id"] for each in items]


async def status_of(player: Account, bet_id: str) -> str:
    return (await player.get(f"/v1/bets/{bet_id}"))["status"]


async def all_is_paid(account: Account) -> None:
    """Wait until another bet is paid: payments keep their order, so all before it are done."""
    before = await account.cash()
    events, _ = await account.strikes(won("2.00"), 1000)
    await account.door.settle(*events[0])
    await account.holds(before + 1000)


async def is_in_debt(account: Account, operator: Operator) -> None:
    """See that who owes may not bet or withdraw, and that a deposit clears the debt first."""
    event = (await account.door.offer(Leg("2.00")), Leg("2.00"))
    answer = await account.slip([event], 10)
    assert (answer.status_code, problem(answer)) == (422, "insufficient-funds")
    await account.is_given(operator, 2500)
    assert await account.cash() == 500


async def happens(step: str, account: Account, event_id: str, operator: Operator) -> None:
    """Let one step of a sequence happen."""
    door = account.door
    results = {WON_1: (1, 1), WON_2: (2, 1), LOST_2: (2, 0)}
    if step == GONE:
        await account.is_given(operator, -11_000)
    elif step in results:
        certainty, result = results[step]
        market = f'<market id="1"><outcome id="1" result="{result}"/></market>'
        inside = f"<outcomes>{market}</outcomes>"
        await door.feed("bet_settlement", event_id, inside, f'certainty="{certainty}"')
    else:
        name = {BACK: "rollback_bet_settlement", CANCEL: "bet_cancel", UNDO: "rollback_bet_cancel"}
        await door.feed(name[step], event_id, '<market id="1"/>')
