"""The chain of batches: each hash covers the batch's transfers and the hash before."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import msgspec

encode = msgspec.msgpack.Encoder().encode


def hash_of(
    shard: int, no: int, at: datetime, prev: bytes, rows: Sequence[tuple[object, ...]]
) -> bytes:
    """Return the hash of a batch: its place, its instant, the hash before, and its rows.

    Rows are as store.values makes them, in the order of their ids.
    """
    return sha256(encode((shard, no, at.isoformat(), prev, rows))).digest()
