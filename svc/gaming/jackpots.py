"""Jackpots: one pot per currency, fed by casino stakes, won by the bet that reaches its target."""

import secrets
from dataclasses import replace

import msgspec

from svc.gaming import rules, store
from svc.gaming.awards import award
from svc.gaming.contract import JACKPOT_TICKS, Jackpots
from svc.mesh.context import Context
from svc.mesh.database import Tx


def new_draw(seed: int, cap: int) -> tuple[int, str, str]:
    """Draw the next target and return it with its salt and the commitment to both."""
    target = rules.draw_target(seed, cap, secrets.randbelow)
    salt = secrets.token_hex(32)
    return target, salt, rules.target_commitment(target, salt)


async def open_jackpot(tx: Tx, currency: str) -> None:
    """Give a currency its pot, unless it has one."""
    seed, cap = rules.JACKPOT_SEED, rules.JACKPOT_CAP
    target, salt, commitment = new_draw(seed, cap)
    pot = rules.Pot(seed, cap, 0, 0, 0, 0, 0, target)
    first = store.StoredPot(f"jackpot-{currency.lower()}", 1, salt, commitment, pot)
    await store.insert_jackpot(tx, first, currency)


async def feed(tx: Tx, currency: str, stake: int, user_id: str) -> None:
    """Add a stake's contribution; the bet that lifts the pot to its target wins it."""
    stored = await store.lock_jackpot(tx, currency)
    if stored is None:
        await open_jackpot(tx, currency)
        stored = await store.lock_jackpot(tx, currency)
        assert stored is not None
    fed = replace(stored, pot=rules.contribute(stored.pot, stake))
    if rules.drops(fed.pot):
        fed = await drop(tx, fed, currency, user_id)
    await store.save_jackpot(tx, fed)


async def drop(tx: Tx, won: store.StoredPot, currency: str, user_id: str) -> store.StoredPot:
    """Award a pot, publish its draw and return the next pot, committed to a new target."""
    target, salt, commitment = new_draw(won.pot.seed, won.pot.cap)
    prize, pot = rules.pay_out(won.pot, target)
    award_id = await award(
        tx,
        kind="jackpot",
        source_id=won.jackpot_id,
        place=won.cycle,
        user_id=user_id,
        amount=prize,
        currency=currency,
    )
    await store.insert_win(tx, won, award_id, prize, tx.context.now())
    return store.StoredPot(won.jackpot_id, won.cycle + 1, salt, commitment, pot)


async def listed(context: Context, locale: str) -> Jackpots:
    """Return all pots with their names in a language."""
    async with context.transaction() as tx:
        pots = await store.list_jackpots(tx)
    text = context.localizer.text
    return Jackpots(
        items=[
            msgspec.structs.replace(
                pot, name=await text(locale, "gaming", "jackpot", currency=pot.currency)
            )
            for pot in pots
        ]
    )


class Ticks:
    """Pushes the pots to clients, one push at a time: what changes meanwhile goes with the next."""

    def __init__(self) -> None:
        """Nothing is being pushed."""
        self.pushing = False
        self.again = False

    async def push(self, context: Context) -> None:
        """Push the pots as they are now."""
        self.again = True
        if self.pushing:
            return
        self.pushing = True
        try:
            while self.again:
                self.again = False
                await context.push(JACKPOT_TICKS, "all", await listed(context, "en"))
        finally:
            self.pushing = False
