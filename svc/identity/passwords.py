"""Argon2id in threads of its own: hashing must neither block the loop nor fill the memory."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

PARALLEL = 2
"""How many passwords are worked on at once; each takes ARGON2_MEMORY_KIB of memory meanwhile."""
THREADS = ThreadPoolExecutor(PARALLEL, thread_name_prefix="argon2")


class Passwords:
    """Hashes and checks passwords with the parameters of an installation."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Read the parameters; the defaults are OWASP's for Argon2id (19 MiB, t=2, p=1)."""
        memory_kib = int(settings.get("ARGON2_MEMORY_KIB", "19456"))
        time_cost = int(settings.get("ARGON2_TIME_COST", "2"))
        self.hasher = _hasher(memory_kib, time_cost)

    async def hash(self, password: str) -> str:
        """Return the encoded hash of a password."""
        return await asyncio.get_running_loop().run_in_executor(THREADS, self.hasher.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Say whether a password is right; without a hash it takes as long and is wrong."""
        return await asyncio.get_running_loop().run_in_executor(
            THREADS, self._matches, password, password_hash
        )

    def outdated(self, password_hash: str) -> bool:
        """Say whether a hash was made with other parameters than today's."""
        return self.hasher.check_needs_rehash(password_hash)

    def _matches(self, password: str, password_hash: str | None) -> bool:
        try:
            right = self.hasher.verify(password_hash or _nobodys_hash(self.hasher), password)
        except (VerificationError, InvalidHashError):
            return False
        return right and password_hash is not None


@lru_cache
def _hasher(memory_kib: int, time_cost: int) -> PasswordHasher:
    return PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)


@lru_cache
def _nobodys_hash(hasher: PasswordHasher) -> str:
    """Return what is compared with when there is no such user: the answer takes as long."""
    return hasher.hash("nobody's password")
