"""A service whose words and handlers differ does not start, and says every difference."""

import pytest

from svc.mesh.contract import Call, Contract
from svc.mesh.errors import DeclarationError
from svc.mesh.runtime import Runtime
from svc.mesh.service import Hear, Service
from tests.mesh.pair import (
    ANSWERING,
    ECHO,
    HAPPENED,
    SECRET,
    Answer,
    Ask,
    Memory,
    answering,
    asking,
)


def test_complete_services_have_no_differences() -> None:
    assert answering(Memory()).differences() == []
    assert asking(Memory()).differences() == []


def test_a_declared_call_without_handler_is_named_and_keeps_the_service_from_starting() -> None:
    service = Service(ANSWERING)

    with pytest.raises(DeclarationError, match=r"no handler answers rpc\.wallet\.v1\.echo"):
        Runtime(service)


def test_a_handler_without_declaration_is_named() -> None:
    service = Service(Contract(name="wallet", version="1", purpose=""))

    @service.answers(ECHO)
    async def echo(request: Ask, _: object) -> Answer:
        raise AssertionError(request)

    assert service.differences() == ["rpc.wallet.v1.echo is answered but not declared"]


def test_a_heard_event_without_handler_is_named() -> None:
    service = Service(
        Contract(name="casino", version="1", purpose=""), hears=(Hear(HAPPENED),), database=True
    )

    assert service.differences() == ["no handler hears HappenedEvent"]


def test_a_call_whose_contract_does_not_list_the_caller_is_named() -> None:
    service = Service(Contract(name="casino", version="1", purpose=""), calls=(SECRET,))

    assert "does not list casino as a caller" in service.differences()[0]


def test_two_handlers_for_one_call_are_refused_where_they_are_written() -> None:
    service = answering(Memory())

    async def echo(request: Ask, _: object) -> Answer:
        raise AssertionError(request)

    with pytest.raises(DeclarationError, match="two handlers"):
        service.answers(ECHO)(echo)


def test_a_call_knows_its_service_and_verb() -> None:
    call = Call("rpc.wallet.v1.deduct_balance", Ask, Answer)

    assert (call.service, call.verb) == ("wallet", "deduct_balance")
