"""What was agreed stays readable: old messages decode, and what would break them has a name."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct, inspect

from svc import catalogue
from svc.generate import history
from svc.mesh.contract import Call, Contract, Event
from svc.mesh.types import EventData, Reply, Request

Fields = dict[str, Any]


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_form_that_a_message_ever_had_still_decodes(name: str) -> None:
    agreed = history.agreed(name)
    assert agreed is not None
    examples = 0
    for message in history.messages(catalogue.contract(name)):
        for example in agreed["messages"][message.name]["examples"]:
            msgspec.json.decode(json.dumps(example).encode(), type=message.form)
            examples += 1
    assert examples or not agreed["messages"]


def test_no_contract_breaks_what_was_agreed() -> None:
    assert history.refusals() == []


def times_of(kind: inspect.Type) -> Iterator[inspect.DateTimeType]:
    """Yield the times in a message, those in its parts too."""
    if isinstance(kind, inspect.DateTimeType):
        yield kind
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from times_of(field.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from times_of(one)
    elif isinstance(kind, inspect.ListType):
        yield from times_of(kind.item_type)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_a_time_in_a_request_comes_with_its_offset(name: str) -> None:
    for call in catalogue.contract(name).answers:
        found = list(times_of(inspect.type_info(call.request)))
        assert all(time.tz for time in found), call.subject


def form(base: type[Struct], fields: Fields) -> type[Struct]:
    """Return a message with these fields: a type where it is required, a pair with a default."""
    given: list[Any] = [
        (n, *kind) if isinstance(kind, tuple) else (n, kind) for n, kind in fields.items()
    ]
    return msgspec.defstruct(
        "Form", given, bases=(base,), frozen=True, kw_only=True,
        forbid_unknown_fields=base is Request,
    )  # fmt: skip


def contract(kind: str, fields: Fields, version: str = "1.0.0") -> Contract:
    """Return a contract with one message of a kind."""
    if kind == "event":
        event = Event("HappenedEvent", "wallet", form(EventData, fields))
        return Contract(name="wallet", version=version, purpose="", publishes=(event,))
    request, reply = ({"same": int}, fields) if kind == "reply" else (fields, {"same": int})
    call = Call("rpc.wallet.v1.ask", form(Request, request), form(Reply, reply))
    return Contract(name="wallet", version=version, purpose="", answers=(call,))


def broken(kind: str, before: Fields, after: Fields) -> list[str]:
    """Return what is said when a message changes so, without its name."""
    old = history.described(contract(kind, before))
    changes = history.breaking_changes(contract(kind, after), old)
    return [text.partition(".")[2] if "." in text else text for text in changes]


A: Fields = {"a": int}
MAYBE: Fields = {"a": int, "b": (str, "")}
BOTH: Fields = {"a": int, "b": str}
BREAKS = [
    ("request", BOTH, A, "b: removed"),
    ("request", MAYBE, A, "b: removed"),
    ("request", A, BOTH, "b: new and required"),
    ("request", MAYBE, BOTH, "b: made required"),
    ("request", A, {"a": str}, "a: type changed from integer to string"),
    ("request", {"a": int | None}, A, "a: type changed from integer or null to integer"),
    ("request", A, {"a": Annotated[int, Meta(le=5)]}, "a: maximum is now 5, was none"),
    ("request", {"a": Literal["x", "y"]}, {"a": Literal["x"]}, "a: no longer takes y"),
    ("reply", BOTH, A, "b: removed"),
    ("reply", A, {"a": str}, "a: type changed from integer to string"),
    ("reply", A, {"a": int | None}, "a: type changed from integer to integer or null"),
    ("event", BOTH, A, "b: removed"),
    ("event", A, BOTH, "b: new and required"),
    ("event", MAYBE, BOTH, "b: made required"),
    ("event", A, {"a": list[int]}, "a: type changed from integer to array"),
    ("event", {"a": list[int]}, {"a": list[str]}, "a[]: type changed from integer to string"),
    ("event", {"a": dict[str, int]}, {"a": dict[str, str]}, "a.*: type changed from integer"),
]
KEEPS = [
    ("request", A, MAYBE),
    ("request", BOTH, MAYBE),
    ("request", A, {"a": int | None}),
    ("request", {"a": Annotated[int, Meta(le=5)]}, A),
    ("request", {"a": Literal["x"]}, {"a": Literal["x", "y"]}),
    ("request", A, {"a": float}),
    ("reply", A, BOTH),
    ("reply", MAYBE, BOTH),
    ("reply", {"a": int | None}, A),
    ("event", A, MAYBE),
    ("event", MAYBE, A),
]


@pytest.mark.parametrize(("kind", "before", "after", "said"), BREAKS)
def test_a_change_that_breaks_is_named_by_its_field(
    kind: str, before: Fields, after: Fields, said: str
) -> None:
    found = broken(kind, before, after)

    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(("kind", "before", "after"), KEEPS)
def test_a_change_that_old_messages_and_readers_survive_is_not_mentioned(
    kind: str, before: Fields, after: Fields
) -> None:
    assert broken(kind, before, after) == []


def test_a_message_that_is_gone_is_named() -> None:
    old = history.described(contract("event", A))

    changes = history.breaking_changes(replace(contract("event", A), publishes=()), old)

    assert changes == ["HappenedEvent: gone"]


def test_a_break_is_written_only_with_a_new_first_number_and_old_examples_stay_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agree(kind: str, fields: Fields, version: str) -> list[Any]:
        monkeypatch.setattr(catalogue, "contracts", lambda: [contract(kind, fields, version)])
        refused = history.refusals(tmp_path)
        [(path, text)] = history.history_files(tmp_path).items()
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        examples = json.loads(text)["messages"]["HappenedEvent"]["examples"]
        return [refused, [sorted(example) for example in examples]]

    assert agree("event", A, "1.0.0") == [[], [["a"]]]
    assert agree("event", MAYBE, "1.1.0") == [[], [["a"], ["a", "b"]]]
    said = ["wallet: HappenedEvent.b: made required"]
    assert agree("event", BOTH, "1.2.0") == [said, [["a"], ["a", "b"]]]
    assert agree("event", BOTH, "2.0.0") == [[], [["a", "b"]]]
