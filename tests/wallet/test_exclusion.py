"""Who is excluded from play stakes nothing more, whoever asks; what is theirs stays theirs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from svc.identity import contract as identity
from svc.mesh.clock import new_id
from svc.mesh.errors import Refused
from svc.mesh.runtime import Runtime
from svc.wallet import contract as wallet
from svc.wallet.group import group_of
from svc.wallet.operations import Deduct
from tests.support.mesh import Services
from tests.support.platform import Platform
from tests.support.waiting import until
from tests.wallet.player import Player

NOW = datetime.now(UTC).replace(microsecond=0)


class Later:
    """A clock that goes so far ahead of the machine's."""

    def __init__(self, ahead: timedelta) -> None:
        """Keep how far."""
        self.ahead = ahead

    def now(self) -> datetime:
        """Return the instant, aware, in UTC."""
        return datetime.now(UTC) + self.ahead


async def tell(player: Player, days: int, *, time_out: bool = False) -> datetime:
    """Tell that a player is excluded for so many days; return until when."""
    end = NOW + timedelta(days=days)
    told = identity.SelfExcludedData(user_id=player.user_id, until=end, time_out=time_out)
    await player.operator.publish(identity.SELF_EXCLUDED, told, subject=player.user_id)
    return end


async def is_excluded(platform: Platform, player: Player, end: datetime) -> None:
    """Wait until the wallet knows that the player is excluded until then."""

    async def known() -> bool:
        async with platform.database("wallet") as connection:
            return end == await connection.fetchval(
                "SELECT excluded_until FROM wallet WHERE user_id = $1", player.user_id
            )

    await until(known, f"excluded until {end}")


def stake(player: Player, kind: wallet.Kind = "bet") -> Deduct:
    return Deduct(
        transfer_id=new_id(), user_id=player.user_id, amount=1, currency="EUR", kind=kind,
        reference="test",
    )  # fmt: skip


async def test_an_excluded_player_stakes_no_more_and_gets_and_takes_out_what_is_theirs(
    ann: Player, platform: Platform
) -> None:
    open_bet, undone, held = await ann.take(30), await ann.take(5), new_id()
    await ann.hold(20, held)
    await is_excluded(platform, ann, await tell(ann, 180))
    for_a_bet = wallet.Hold(
        transfer_id=new_id(), hold_id=new_id(), user_id=ann.user_id, amount=1, currency="EUR",
        kind="bet", reference="test",
    )  # fmt: skip
    for refused in (
        ann.take(1),
        ann.take(1, "casino_bet"),
        ann.operator.call(wallet.HOLD, for_a_bet),
    ):
        with pytest.raises(wallet.SelfExcluded, match="no stakes until") as answer:
            await refused
        assert (answer.value.name, answer.value.status) == ("self-excluded", 403)
    won = await ann.give(60, "bet_payout", stake=open_bet.transfer_id)
    assert (won.cash, won.held) == (125, 20)
    assert (await ann.rollback(undone.transfer_id)).cash == 130
    assert (await ann.capture(held)).cash == 110
    assert (await ann.take(110, "withdrawal")).cash == 0


async def test_the_longest_exclusion_holds_and_what_is_told_again_is_written_once(
    ann: Player, platform: Platform
) -> None:
    await tell(ann, 30, time_out=True)
    longest = await tell(ann, 200)
    for days in (200, 1, 180):
        await tell(ann, days)
    await is_excluded(platform, ann, longest)
    # All of a player's events are worked on in order: what was told last is through by then.
    await is_excluded(platform, ann, await tell(ann, 201))
    async with platform.database("wallet") as connection:
        ends = await connection.fetch(
            "SELECT reference FROM transfer WHERE user_id = $1 AND verb = 'exclude' ORDER BY seq",
            ann.user_id,
        )
    wanted = [NOW + timedelta(days=days) for days in (30, 200, 201)]
    assert [datetime.fromisoformat(row["reference"]) for row in ends] == wanted


async def test_an_exclusion_ends_by_itself_and_what_was_refused_stays_refused(
    ann: Player, platform: Platform, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await is_excluded(platform, ann, await tell(ann, 1))
    refused = ann.transfer(1, "bet")
    with pytest.raises(wallet.SelfExcluded):
        await ann.deduct(refused)
    runtime = services.running["wallet"].runtimes[0]
    with monkeypatch.context() as changed:
        changed.setattr(runtime, "clock", Later(timedelta(days=1, seconds=1)))
        assert (await ann.take(1)).cash == 99
        with pytest.raises(wallet.SelfExcluded):
            await ann.deduct(refused)


async def test_a_wallet_that_is_opened_after_the_exclusion_is_excluded_too(
    ann: Player, platform: Platform
) -> None:
    bob = Player(ann.operator)
    end = await tell(bob, 180)
    await bob.give(5)
    await is_excluded(platform, bob, end)
    with pytest.raises(wallet.SelfExcluded):
        await bob.take(1)


async def test_another_wallet_that_believed_otherwise_takes_nothing_either(
    ann: Player, platform: Platform, other: Runtime
) -> None:
    group, context = group_of(other.context()), other.context()
    [before] = await group.apply([stake(ann)], [context])
    assert isinstance(before, wallet.Receipt)
    await is_excluded(platform, ann, await tell(ann, 180))
    [after] = await group.apply([stake(ann)], [context])
    assert isinstance(after, wallet.SelfExcluded)
    assert (await ann.money())[0] == 99


async def test_of_many_stakes_at_once_none_is_taken_after_the_exclusion(
    ann: Player, platform: Platform
) -> None:
    answers: list[type[object]] = []
    excluded = asyncio.Event()

    async def play() -> None:
        while not excluded.is_set():
            await one()

    async def one() -> None:
        try:
            answers.append(type(await ann.take(0)))
        except Refused as refusal:
            answers.append(type(refusal))

    players = [asyncio.create_task(play()) for _ in range(6)]
    await until(lambda: asyncio.sleep(0, len(answers) > 50))
    await is_excluded(platform, ann, await tell(ann, 180))
    excluded.set()
    await asyncio.gather(*players)
    assert set(answers) == {wallet.Receipt, wallet.SelfExcluded}
    first = len(answers)
    await asyncio.gather(*(one() for _ in range(20)))
    assert answers[first:] == [wallet.SelfExcluded] * 20
