"""A player's balance as it changes: the gateway watches the wallet's bucket for whoever listens.

It only shows what it sees there; nothing is decided on a cached balance. The first frame is asked
of the wallet itself. Several wallets may put balances in another order than they committed them:
the version says which is the newer, and an older one is never shown after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import Struct

from svc.mesh.contract import Live
from svc.wallet import contract as wallet

DataT_co = TypeVar("DataT_co", bound=Struct, covariant=True)
decode = msgspec.json.Decoder(wallet.Balance).decode


@dataclass(frozen=True)
class Watched(Live[DataT_co]):
    """A channel that nobody pushes to: its messages are the changes of a bucket's keys."""

    bucket: str = ""

    def subject(self, key: str) -> str:
        """Return the subject under which the bucket keeps a key."""
        return f"$KV.{self.bucket}.{key}"


BALANCES = Watched(
    "wallet", wallet.Balance, path="/ws/wallet", snapshot=wallet.BALANCE, role="player",
    purpose="The player's balance, after each change that the wallet committed.",
    bucket=wallet.WALLET.name,
)  # fmt: skip


def newer_only() -> Callable[[str], bool]:
    """Return what tells of one client's frames, in order, which of them to send."""
    shown = -1

    def newer(text: str) -> bool:
        nonlocal shown
        try:
            version = decode(text).version
        except msgspec.DecodeError:  # a key that was deleted has no value
            return False
        if version <= shown:
            return False
        shown = version
        return True

    return newer
