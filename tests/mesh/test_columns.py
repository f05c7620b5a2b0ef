"""Texts checked by the column are taken and refused exactly as when each is decoded alone."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given, strategies
from msgspec import Meta, Struct

from svc.mesh.batch import BatchReader
from svc.mesh.columns import Columns
from svc.mesh.errors import DeclarationError, Invalid
from svc.mesh.types import Currency, Id, Request, ShortText

UUID = "0199b2a4-5e7c-7abc-8def-0123456789ab"
ALMOST = (
    UUID, UUID.upper(), UUID[:-1], UUID + "0", UUID + "\n", UUID.replace("-", ""), "", "g" * 36,
    UUID[:8] + "0" + UUID[9:], UUID[:-1] + "-", UUID[:-1] + "\xdf", UUID[:-1] + "\u0661",
    "0" + UUID[:-1], UUID[1:] + "-",
)  # fmt: skip
IDS = strategies.sampled_from(ALMOST) | strategies.uuids().map(str) | strategies.text(max_size=40)
CURRENCIES = strategies.sampled_from(("EUR", "JPY", "eur", "EURO", "EU", "EUR\n", "", "E R"))
REFERENCES = strategies.text(max_size=4) | strategies.sampled_from(
    ("x" * 255, "x" * 256, "a\nb", "\x00", "a\x00b", "é", '"', "\\")
)


class Demanded(Request, frozen=True, kw_only=True):
    """What a contract would ask for."""

    first: Id
    second: Id | None = None
    amount: Annotated[int, Meta(ge=0)] = 0
    currency: Currency = "EUR"
    reference: ShortText = "-"


class Taken(Demanded, frozen=True, kw_only=True):
    """The same without any demand on its texts."""

    first: str
    second: str | None = None
    currency: str = "EUR"
    reference: str = "-"


REQUESTS = strategies.builds(
    dict[str, object],
    first=IDS,
    second=IDS | strategies.none(),
    amount=strategies.sampled_from((0, 1, -1)),
    currency=CURRENCIES,
    reference=REFERENCES,
)
PLAIN = BatchReader(Demanded, Demanded)
COLUMNS = BatchReader(Demanded, Taken)


@given(strategies.lists(REQUESTS, max_size=5))
def test_a_batch_is_read_as_if_each_were_decoded_alone(requests: list[dict[str, object]]) -> None:
    data = msgspec.json.encode([(1, "c", "", request) for request in requests])

    one_by_one, together = PLAIN.read(data), COLUMNS.read(data)

    def told(found: object) -> object:
        return found.detail if isinstance(found, Invalid) else msgspec.to_builtins(found)

    assert [told(one.request) for one in together] == [told(one.request) for one in one_by_one]
    assert {type(one.request) for one in together} <= {Taken, Invalid}


@given(REQUESTS)
def test_a_lone_request_is_refused_for_the_same_reason(request: dict[str, object]) -> None:
    body = msgspec.json.encode(request)
    reasons: list[str] = []
    for reader in (PLAIN, COLUMNS):
        try:
            reader.read_one(body)
            reasons.append("")
        except Invalid as invalid:
            reasons.append(invalid.detail)

    assert reasons[0] == reasons[1]


@pytest.mark.parametrize(
    "almost", [text for text in ALMOST if text != UUID], ids=[ascii(text) for text in ALMOST[1:]]
)
def test_what_is_almost_an_id_spoils_only_itself(almost: str) -> None:
    data = msgspec.json.encode([(1, "", "", {"first": first}) for first in (UUID, almost, UUID)])

    first, spoilt, last = (one.request for one in COLUMNS.read(data))

    assert (first, last) == (Taken(first=UUID), Taken(first=UUID))
    assert isinstance(spoilt, Invalid)


class Fewer(Struct, frozen=True, kw_only=True):
    """A handler's request that lacks what the contract has."""

    first: str


class Other(Demanded, frozen=True, kw_only=True):
    """A handler's request that takes other amounts."""

    amount: int = 0


class Tighter(Demanded, frozen=True, kw_only=True):
    """A handler's request with demands of its own on a text."""

    reference: Annotated[str, Meta(max_length=3)] = "-"


class Nullable(Request, frozen=True, kw_only=True):
    """A handler's request that takes null where the contract does not."""

    first: str | None
    second: str | None = None
    amount: Annotated[int, Meta(ge=0)] = 0
    currency: str = "EUR"
    reference: str = "-"


class Optional(Demanded, frozen=True, kw_only=True):
    """A handler's request that takes nothing where the contract demands something."""

    first: str = ""


class Renamed(Demanded, frozen=True, kw_only=True):
    """A handler's request that looks for a text under another name."""

    reference: str = msgspec.field(default="-", name="ref")


@pytest.mark.parametrize("taken", [Fewer, Other, Tighter, Nullable, Optional, Renamed])
def test_a_request_that_differs_in_more_is_no_declaration(taken: type[Struct]) -> None:
    with pytest.raises(DeclarationError):
        Columns(Demanded, taken)
