"""The wallet as a player would explain it: plain numbers, and a note of every transfer."""

from svc.wallet.contract import BatchItem

AMOUNT_MAX = 2**53 - 1
"""What every reader of JSON keeps exact."""

Told = tuple[int, int, int] | str
"""Cash, bonus and held right after it, or the name of the refusal."""


class Model:
    """Predicts every answer. `moved` has what took effect, with what it moved."""

    def __init__(self) -> None:
        """Nobody has a wallet."""
        self.money: dict[str, list[int]] = {}
        self.currency: dict[str, str | None] = {}
        self.asked: dict[str, BatchItem] = {}
        self.told: dict[str, Told] = {}
        self.owner: dict[str, str] = {}
        self.moved: dict[str, list[int]] = {}
        self.holds: dict[str, str] = {}
        self.undone: set[str] = set()
        self.closed: set[str] = set()

    def apply(self, item: BatchItem) -> Told:
        """Return the answer to an operation, and remember it."""
        least = 1 if item.op in ("hold", "capture") else 0
        if item.amount is not None and not least <= item.amount <= AMOUNT_MAX:
            return "validation"
        if item.op == "credit_balance":
            # Who is given money has a wallet from then on, even if the money is refused.
            self.open(item.user_id or "", item.currency)
        known = self.asked.get(item.transfer_id)
        if known is not None:
            return self.told[item.transfer_id] if known == item else "conflict"
        if item.transfer_id in self.undone:
            return "rolled-back"
        if item.transfer_id == item.original_transfer_id:
            return "conflict"
        if item.user_id:
            self.owner[item.transfer_id] = item.user_id
        told = getattr(self, item.op)(item)
        self.asked[item.transfer_id] = item
        self.told[item.transfer_id] = told
        return told

    def open(self, user: str, currency: str | None) -> None:
        """Give a player an empty wallet, if there is none."""
        self.money.setdefault(user, [0, 0, 0])
        self.currency.setdefault(user, currency)

    def move(self, item: BatchItem, user: str, *change: int) -> Told:
        """Change a player's cash, bonus and held."""
        self.moved[item.transfer_id] = [*change]
        now = self.money.get(user, [0, 0, 0])
        self.money[user] = [was + more for was, more in zip(now, change, strict=True)]
        cash, bonus, held = self.money[user]
        return cash, bonus, held

    def deduct_balance(self, item: BatchItem) -> Told:
        """Cash that is not held first; only a stake may take bonus money too."""
        user, amount = item.user_id or "", item.amount or 0
        if user not in self.money:
            return "not-found"
        if item.currency != self.currency[user]:
            return "currency-mismatch"
        cash, bonus, held = self.money[user]
        if item.kind == "bonus_expiry":
            return self.move(item, user, 0, -min(amount, bonus), 0)
        from_cash = min(amount, cash - held)
        if amount - from_cash > (bonus if item.kind == "bet" else 0):
            return "insufficient-funds"
        return self.move(item, user, -from_cash, from_cash - amount, 0)

    def credit_balance(self, item: BatchItem) -> Told:
        """Winnings go where the stake came from; the odd unit is cash."""
        user, amount, stake = item.user_id or "", item.amount or 0, item.stake_transfer_id or ""
        if stake in self.undone:
            return "rolled-back"
        bonus = amount if item.kind == "bonus" else 0
        if stake in self.asked:
            taken = self.asked[stake].op == "deduct_balance" and stake in self.moved
            if not taken or self.owner[stake] != user:
                return "not-found"
            cash, bonus, _ = self.moved[stake]
            bonus = amount * bonus // (cash + bonus) if bonus else 0
        if item.currency != self.currency[user]:
            return "currency-mismatch"
        if self.too_large(user, amount - bonus, bonus):
            return "balance-too-large"
        return self.move(item, user, amount - bonus, bonus, 0)

    def too_large(self, user: str, cash: int, bonus: int) -> bool:
        """Return whether a balance would be more than a message carries."""
        now = self.money[user]
        return max(now[0] + cash, now[1] + bonus) > AMOUNT_MAX

    def hold(self, item: BatchItem) -> Told:
        """Set cash aside."""
        user, amount, hold = item.user_id or "", item.amount or 0, item.hold_id or ""
        if hold in self.holds:
            return "conflict"
        if user not in self.money:
            return "not-found"
        if item.currency != self.currency[user]:
            return "currency-mismatch"
        if amount > self.money[user][0] - self.money[user][2]:
            return "insufficient-funds"
        self.holds[hold] = item.transfer_id
        return self.move(item, user, 0, 0, amount)

    def capture(self, item: BatchItem) -> Told:
        """Take what is held, and give the rest back; a release gives all of it back."""
        hold = item.hold_id or ""
        if hold not in self.holds:
            return "not-found"
        user = self.owner[item.transfer_id] = self.owner[self.holds[hold]]
        if hold in self.closed:
            return "already-settled"
        held = self.moved[self.holds[hold]][2]
        amount = 0 if item.op == "release" else held if item.amount is None else item.amount
        if amount > held:
            return "hold-exceeded"
        self.closed.add(hold)
        return self.move(item, user, -amount, 0, -held)

    release = capture

    def rollback(self, item: BatchItem) -> Told:
        """Undo what was applied, once; what never came will never be."""
        undo = item.original_transfer_id or ""
        user = self.owner[item.transfer_id] = self.owner.get(undo, "")
        cash, bonus, held = self.money.get(user, (0, 0, 0))
        credits_left = any(
            other.stake_transfer_id == undo and other.op == "credit_balance"
            for transfer_id, other in self.asked.items()
            if transfer_id in self.moved and transfer_id not in self.undone
        )
        if undo not in self.asked and undo not in self.undone:
            if credits_left:
                return "already-settled"
            self.undone.add(undo)
            self.moved[item.transfer_id] = [0, 0, 0]
        if undo not in self.moved or undo in self.undone:
            return cash, bonus, held
        original = self.asked[undo]
        final = original.op in ("capture", "release", "rollback")
        if final or (original.op == "hold" and original.hold_id in self.closed) or credits_left:
            return "already-settled"
        back = [-change for change in self.moved[undo]]
        if cash + back[0] < held + back[2] or bonus + back[1] < 0:
            return "insufficient-funds"
        if self.too_large(user, back[0], back[1]):
            return "balance-too-large"
        self.undone.add(undo)
        self.closed.add(original.hold_id or "")
        return self.move(item, user, *back)
