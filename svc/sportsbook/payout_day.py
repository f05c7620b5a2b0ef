"""What one player may be paid in a day, over all bets: the house's limit, if it has one.

A bet is paid what the day still leaves: min(return, limit - what the others were paid that day).
So it does not matter in which order bets are decided, or how often; money that is taken back makes
room for what was cut before. Refunds of void bets are the player's own and count for nothing.
Source: maximum payout per day (docs.data.bet, "Bet").
"""

from collections.abc import Sequence
from datetime import date

from msgspec import structs

from svc.mesh.database import Tx
from svc.sportsbook import store_payout_day as store
from svc.sportsbook.rules import Limits
from svc.sportsbook.rules_settlement import Verdict
from svc.sportsbook.store_bets import BetRow
from svc.sportsbook.store_payout_day import DayKey, Paid


class Days:
    """The days of the players whose bets are being decided; amounts in minor units."""

    def __init__(
        self, today: date, most: int, known: dict[str, Paid], totals: dict[DayKey, int]
    ) -> None:
        """Keep what was paid so far: of these bets, and altogether by player and day."""
        self.today = today
        self.most = most
        self.known = known
        self.totals = totals
        self.paid: list[Paid] = []
        self.gone: list[str] = []
        self.freed: set[DayKey] = set()

    def held(self, bet: BetRow, found: Verdict | None) -> Verdict | None:
        """Return how a bet ends within its player's day; a bet stays in the day it was paid in."""
        known = self.known.get(bet.bet_id)
        if found is None or found.result == "void":
            if known is not None:
                self.gone.append(bet.bet_id)
                self._moved(known.key, -known.amount)
            return found
        key = (bet.user_id, bet.currency, self.today) if known is None else known.key
        most, own = (self.most, 0) if known is None else (known.most, known.amount)
        amount = min(found.payout, max(most - (self.totals.get(key, 0) - own), 0))
        self._moved(key, amount - own)
        self.paid.append(
            Paid(
                paid_id=bet.bet_id,
                user_id=bet.user_id,
                currency=bet.currency,
                day=key[2],
                amount=amount,
                owed=found.payout,
                most=most,
            )
        )
        return structs.replace(found, payout=amount)

    def _moved(self, key: DayKey, amount: int) -> None:
        self.totals[key] = self.totals.get(key, 0) + amount
        if amount < 0:
            self.freed.add(key)

    async def write(self, tx: Tx) -> None:
        """Write what is paid now, and where there is room again."""
        if self.gone:
            await store.drop(tx, self.gone)
        if self.paid:
            await store.put(tx, self.paid)
        if self.freed:
            await store.look_again(tx, sorted(self.freed))


async def of(tx: Tx, bets: Sequence[BetRow], limits: Limits) -> Days | None:
    """Lock and return the days of these bets' players; None where the house has no such limit."""
    if not limits.payout_day_max or not bets:
        return None
    users = {bet.user_id for bet in bets}
    await store.lock(tx, users)
    today = tx.context.now().date()
    known = await store.of_bets(tx, [bet.bet_id for bet in bets])
    days = {today, *(each.day for each in known.values())}
    return Days(today, limits.payout_day_max, known, await store.totals(tx, users, days))


async def left(tx: Tx, bet: BetRow, limits: Limits) -> int | None:
    """Return what a player may still be paid today; None where the house has no such limit."""
    if not limits.payout_day_max:
        return None
    await store.lock(tx, [bet.user_id])
    key = bet.user_id, bet.currency, tx.context.now().date()
    paid = await store.totals(tx, [bet.user_id], [key[2]])
    return max(limits.payout_day_max - paid.get(key, 0), 0)


async def cashed_out(tx: Tx, bet: BetRow, quote_id: str, amount: int, limits: Limits) -> None:
    """Count what was paid for a bet, or a part of it, that was bought back."""
    if limits.payout_day_max:
        paid = Paid(
            paid_id=quote_id,
            user_id=bet.user_id,
            currency=bet.currency,
            day=tx.context.now().date(),
            amount=amount,
            owed=amount,
            most=limits.payout_day_max,
        )
        await store.put(tx, [paid])
