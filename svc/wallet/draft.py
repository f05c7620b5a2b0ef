"""A batch before it is written: what was decided in memory, and on which beliefs it rests."""

from dataclasses import dataclass, field

from svc.wallet.announcements import Announcement
from svc.wallet.book import Book
from svc.wallet.ledger import Decided
from svc.wallet.refreshing import Shown
from svc.wallet.store import Written


@dataclass(slots=True, eq=False)
class Draft:
    """A batch before it is written: what was decided, and on which wallets it rests.

    `before` has the seq that each wallet had when it was first looked at. Once it is `sealed`,
    ready to be written, nothing is added any more; `shown` are its wallets as they stand then.
    """

    book: Book = field(default_factory=lambda: Book({}))
    before: dict[str, int] = field(default_factory=dict[str, int])
    decided: list[Decided] = field(default_factory=list[Decided])
    ids: set[str] = field(default_factory=set[str])
    announced: list[Announcement] = field(default_factory=list[Announcement])
    shown: dict[str, Shown] = field(default_factory=dict[str, Shown])
    sealed: Written | None = None

    def add(self, decided: list[Decided]) -> None:
        """Take in what was decided on the draft's book."""
        self.decided += decided
        self.ids.update([record.transfer_id for record, _ in decided])

    def unmoved(self) -> list[tuple[str, int]]:
        """Return user and seq of the wallets that were looked at and left as they were."""
        before = self.before
        moved = {user for user, wallet in self.book.all_wallets() if wallet.seq != before[user]}
        return [one for one in sorted(before.items()) if one[0] not in moved]

    def stakes(self) -> list[str]:
        """Return the bets' stakes: if one was credited before it came, it is decided otherwise."""
        return [
            record.transfer_id
            for record, _ in self.decided
            if record.kind == "bet" and record.verb == "deduct_balance"
        ]
