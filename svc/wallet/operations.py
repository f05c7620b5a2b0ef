"""The operations on money: requests of the contract and one of events, with their fingerprints."""

from datetime import datetime
from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Struct

from svc.mesh.errors import Invalid
from svc.mesh.types import AmountOrZero, Currency, Id, ShortText
from svc.wallet.contract import BatchItem, Capture, Hold, Release, Rollback, Transfer

Verb = Literal[
    "deduct_balance", "credit_balance", "hold", "capture", "release", "rollback", "close",
    "exclude", "end_bonus",
]  # fmt: skip


class Checked(Transfer, frozen=True, kw_only=True, omit_defaults=True):
    """A transfer whose texts were checked before, or are our own."""

    transfer_id: str
    user_id: str
    currency: str
    reference: str
    stake_transfer_id: str | None = None


class Deduct(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """Take money from a player."""


class Credit(Checked, frozen=True, kw_only=True, omit_defaults=True):
    """Give money to a player; `into` says to which account when the kind alone does not."""

    into: Literal["cash", "bonus"] | None = None


class Close(Struct, frozen=True, kw_only=True):
    """Close a player's account: no stakes and withdrawals any more. Only an event says so."""

    transfer_id: Id
    user_id: Id


class Exclude(Struct, frozen=True, kw_only=True):
    """Take no stakes of a player until an instant. Only an event says so."""

    transfer_id: Id
    user_id: Id
    until: datetime


class EndBonus(Struct, frozen=True, kw_only=True):
    """Turn bonus money into cash, or take it back. Only an event says so.

    It is what is above `kept`, at most `amount`, in minor units.
    """

    transfer_id: Id
    user_id: Id
    amount: AmountOrZero
    kept: AmountOrZero
    currency: Currency
    kind: Literal["bonus_conversion", "bonus_expiry"]
    reference: ShortText


Operation = Deduct | Credit | Hold | Capture | Release | Rollback | Close | Exclude | EndBonus

OPERATIONS: dict[Verb, type[Operation]] = {  # that may be called for
    "deduct_balance": Deduct,
    "credit_balance": Credit,
    "hold": Hold,
    "capture": Capture,
    "release": Release,
    "rollback": Rollback,
}
VERBS: dict[type[Operation], Verb] = {kind: verb for verb, kind in OPERATIONS.items()}
VERBS[Close] = "close"
VERBS[Exclude] = "exclude"
VERBS[EndBonus] = "end_bonus"
MARKS = {kind: verb.encode() for kind, verb in VERBS.items()}
encode = msgspec.json.Encoder(order="sorted").encode


def of_item(item: BatchItem) -> Operation:
    """Return the operation that a batch item stands for.

    Raises Invalid when a field is missing that its verb needs, or one is given that it lacks.
    """
    given = {
        name: value
        for name, value in msgspec.structs.asdict(item).items()
        if name != "op" and value is not None
    }
    try:
        return msgspec.convert(given, OPERATIONS[item.op])
    except msgspec.ValidationError as failure:
        raise Invalid(str(failure)) from failure


def fingerprint(operation: Operation) -> bytes:
    """Return what tells one body from another: the same id with another one is a conflict.

    Fields that are absent or as by default do not count, so that one added later changes no old
    fingerprint.
    """
    kind = type(operation)
    if kind is Capture:
        body: object = {
            name: value
            for name, value in msgspec.structs.asdict(operation).items()
            if value is not None
        }
    else:
        body = operation
    return sha256(MARKS[kind] + encode(body)).digest()
