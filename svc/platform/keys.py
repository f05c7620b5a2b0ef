"""The NATS users' nkey seeds under `.run/nats/`: made once, mode 0600, never printed."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import nkeys

from svc.platform.ports import SERVICES

# operator: a person with the nats CLI; observer: the wiretap, reads only; deploy: creates streams,
# consumers and buckets; system: the server's own account (health, reload); betradar: a bridge that
# copies the odds feed's messages to `uof.>`; shadow: instances that only see copies of calls.
PEOPLE = ("operator", "observer", "deploy", "system", "betradar", "shadow")


def seed_file(run_dir: Path, user: str) -> Path:
    """Where the seed of this NATS user lies."""
    return run_dir / "nats" / f"{user}.nk"


def ensure(run_dir: Path, users: Iterable[str] = (*SERVICES, *PEOPLE)) -> dict[str, str]:
    """Make what seeds are missing; return the public key of each user."""
    directory = run_dir / "nats"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {user: _public_key(seed_file(run_dir, user)) for user in users}


def _public_key(path: Path) -> str:
    if not path.exists():
        seed = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        # Whole or not at all: a start that dies here must not leave an empty seed.
        partial = path.with_suffix(".new")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed)
        partial.rename(path)
    pair = nkeys.from_seed(bytearray(path.read_bytes().strip()))
    return bytes(pair.public_key).decode()
