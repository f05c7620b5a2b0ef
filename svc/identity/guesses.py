"""Wrong guesses at passwords and codes: counted for whoever is guessed at, known here or not.

Two counts run side by side. The one of an account and an address locks early, so that somebody who
guesses elsewhere does not lock the owner out; the one of the account alone locks those who guess
from many addresses (OWASP ASVS 2.2.1).
"""

from datetime import datetime, timedelta
from hashlib import sha256

from svc.identity import security_store
from svc.identity.contract_security import LockedOut
from svc.mesh.database import Tx

FREE_HERE = 5
"""Wrong guesses at one account from one address, before the next has to wait."""
FREE_EVERYWHERE = 20
FIRST_LOCK = timedelta(seconds=30)
LAST_LOCK = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)

Keys = tuple[tuple[bytes, int], ...]
"""What is counted, as hashes, each with the number of guesses that are free."""


def keys(what: str, whose: str, ip: str) -> Keys:
    """Return what a guess at something of somebody counts for; `whose` need not exist."""
    account = f"{what}\0{whose}".encode()
    return (
        (sha256(account + b"\0" + ip.encode()).digest(), FREE_HERE),
        (sha256(account).digest(), FREE_EVERYWHERE),
    )


def lock(failures: int, free: int) -> timedelta | None:
    """Return how long the next guess waits: 30 s after the last free one, doubled by each more."""
    if failures < free:
        return None
    return min(FIRST_LOCK * 2 ** min(failures - free, 12), LAST_LOCK)


async def check(tx: Tx, guessed: Keys) -> None:
    """Raise LockedOut while the next guess has to wait; the password is not looked at then."""
    until = await security_store.locked_until(tx, [key for key, _ in guessed])
    now = tx.context.now()
    if until is not None and until > now:
        wait = int((until - now).total_seconds()) + 1
        raise LockedOut(f"too many wrong guesses: try again in {wait} s", retry_after=wait)


async def wrong(tx: Tx, guessed: Keys) -> bool:
    """Count a wrong guess; say whether it locked."""
    now = tx.context.now()
    locked = False
    for key, free in guessed:
        failures = await security_store.count_failure(tx, key, now, now - FORGOTTEN_AFTER)
        wait = lock(failures, free)
        if wait is not None:
            await security_store.lock_guesses(tx, key, now + wait)
            locked = True
    return locked


async def right(tx: Tx, guessed: Keys) -> None:
    """Forget the wrong guesses before a right one."""
    await security_store.forget_failures(tx, [key for key, _ in guessed])


def stale(now: datetime) -> datetime:
    """Return since when a count must have had a guess to be kept."""
    return now - FORGOTTEN_AFTER
