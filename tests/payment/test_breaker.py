"""The circuit breaker, and the provider's client with it on a real socket."""

from collections.abc import AsyncGenerator

import pytest
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from svc.mesh.errors import Unavailable
from svc.outside.server import running
from svc.payment import provider
from svc.payment.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_after_many_failures_in_a_row_nobody_asks_until_one_probe_succeeds() -> None:
    clock = Clock()
    breaker = Breaker(clock, failures_max=3, pause_s=5)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.admits()
        breaker.failed()
    assert not breaker.admits()
    clock.now_s = 4.9
    assert not breaker.admits()
    clock.now_s = 5
    assert breaker.admits()
    assert not breaker.admits(), "one probe at a time"
    breaker.failed()
    clock.now_s = 9.9
    assert not breaker.admits()
    clock.now_s = 10
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.admits()
    assert breaker.admits()


def test_a_probe_that_never_ended_does_not_keep_it_open_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(clock, failures_max=1, pause_s=5)
    breaker.failed()
    clock.now_s = 5
    assert breaker.admits()
    clock.now_s = 10
    assert breaker.admits()


class Ailing:
    """A provider that answers what it is told, and keeps what it was asked with which key."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.keys: list[str] = []

    def application(self) -> Litestar:
        @post("/v1/payouts")
        async def pay_out(request: Request[object, object, State]) -> Response[bytes]:
            self.keys.append(request.headers["idempotency-key"])
            status = self.answers.pop(0) if self.answers else 200
            body = b'{"id": "po_1", "status": "pending", "amount": 5, "currency": "eur"}'
            return Response(body, status_code=status, media_type="application/json")

        return Litestar([pay_out], openapi_config=None, logging_config=None)


@pytest.fixture
async def ailing() -> AsyncGenerator[tuple[Ailing, provider.Provider]]:
    ailing = Ailing()
    async with running(ailing.application()) as url:
        client = provider.Provider(url, "sk_test")
        yield ailing, client
        await client.close()


async def test_a_failure_is_tried_again_at_once_with_the_same_key(
    ailing: tuple[Ailing, provider.Provider],
) -> None:
    there, client = ailing
    there.answers = [503]
    assert (await client.pay_out("w1", 5, "EUR", "bank")).id == "po_1"
    assert there.keys == ["w1", "w1"]


async def test_a_provider_that_keeps_failing_is_left_alone_until_it_works_again(
    ailing: tuple[Ailing, provider.Provider],
) -> None:
    there, client = ailing
    clock = Clock()
    client.breaker = Breaker(clock, failures_max=4, pause_s=5)
    there.answers = [500] * 5
    for _ in range(4):
        with pytest.raises(Unavailable):
            await client.pay_out("w1", 5, "EUR", "bank")
    assert len(there.keys) == 4, "two calls of two attempts; the others were not sent"
    clock.now_s = 5
    with pytest.raises(Unavailable):
        await client.pay_out("w1", 5, "EUR", "bank")
    assert len(there.keys) == 5, "the probe failed"
    clock.now_s = 10
    assert (await client.pay_out("w1", 5, "EUR", "bank")).id == "po_1"
