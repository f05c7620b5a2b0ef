"""The gRPC door: keys and scopes, statuses, deadlines, health and reflection."""

from hashlib import sha256
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from proto.betmesh.identity.v1 import identity_pb2, identity_pb2_grpc
from proto.betmesh.wallet.v1 import wallet_pb2
from svc.gateway.grpc_door import ALL_SCOPES
from svc.gateway.keys import Keys
from svc.gateway.state import gateway_of
from svc.identity import contract, contract_security as security
from svc.mesh.clock import SystemClock, new_id
from svc.mesh.errors import DeclarationError, Forbidden, Unauthenticated
from tests.gateway.conftest import Player
from tests.gateway.grpc_wallet import Metadata, deduction, funded, refused
from tests.support.mesh import Operator, Services
from tests.support.platform import Platform
from tests.support.waiting import until


@pytest.fixture
def identity(channel: grpc.aio.Channel) -> Any:
    return cast("Any", identity_pb2_grpc.IdentityStub)(channel)


async def test_a_key_whose_end_was_told_without_an_offset_ends_then_in_utc(
    identity: Any, platform: Platform
) -> None:
    """Identity takes no such time any more, but its bucket may still hold some."""
    ends = {new_id(): b"2020-01-01T00:00:00", new_id(): b"2999-01-01T00:00:00"}
    async with platform.nats("identity") as connection:
        for given, end in ends.items():
            entry = security.api_key_entry(sha256(given.encode()).digest())
            told = b'{"key_id": "%b", "scopes": ["identity.read"], "expires_at": "%b"}'
            await connection.jetstream().publish(
                f"$KV.identity.{entry}", told % (given.encode(), end), stream="KV_identity"
            )

    async def answer(given: str) -> grpc.StatusCode:
        metadata = (("authorization", f"Bearer {given}"),)
        code, _ = await refused(
            identity.GetUser(identity_pb2.GetUserRequest(user_id=new_id()), metadata=metadata)
        )
        return code

    ended, going_on = ends

    async def known() -> bool:
        return await answer(going_on) is grpc.StatusCode.NOT_FOUND

    await until(known)
    assert await answer(ended) is grpc.StatusCode.UNAUTHENTICATED


async def test_money_moves_once_per_transfer_and_comes_back_by_rollback(
    wallet: Any, player: Player, key: Metadata
) -> None:
    await funded(wallet, player, key)
    bet = deduction(player, 300)
    first = await wallet.DeductBalance(bet, metadata=key)
    again = await wallet.DeductBalance(bet, metadata=key)
    assert (first.cash, again.cash) == (700, 700)
    undone = await wallet.Rollback(
        wallet_pb2.RollbackRequest(transfer_id=new_id(), original_transfer_id=bet.transfer_id),
        metadata=key,
    )
    assert undone.cash == 1000
    balance = await wallet.GetBalance(
        wallet_pb2.GetBalanceRequest(user_id=player.user_id), metadata=key
    )
    assert (balance.currency, balance.cash, balance.available) == ("EUR", 1000, 1000)


async def test_each_refusal_has_its_status_and_its_name(
    wallet: Any, player: Player, key: Metadata
) -> None:
    await funded(wallet, player, key)
    too_much = wallet.DeductBalance(deduction(player, 5000), metadata=key)
    code, name = await refused(too_much)
    assert (code, name) == (grpc.StatusCode.FAILED_PRECONDITION, "insufficient-funds")
    trailing = dict(await too_much.trailing_metadata())
    assert trailing["betmesh-problem"] == "insufficient-funds"

    bet = deduction(player, 10)
    await wallet.DeductBalance(bet, metadata=key)
    bet.amount = 20
    other = await refused(wallet.DeductBalance(bet, metadata=key))
    assert other == (grpc.StatusCode.ALREADY_EXISTS, "conflict")

    nobody = wallet_pb2.GetBalanceRequest(user_id=new_id())
    unknown = await refused(wallet.GetBalance(nobody, metadata=key))
    assert unknown == (grpc.StatusCode.NOT_FOUND, "not-found")

    malformed = wallet_pb2.GetBalanceRequest(user_id="me")
    invalid = await refused(wallet.GetBalance(malformed, metadata=key))
    assert invalid == (grpc.StatusCode.INVALID_ARGUMENT, "validation")


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "Bearer wrong"),), (("authorization", "wrong"),)],
)
async def test_without_the_key_nothing_opens(wallet: Any, metadata: Metadata) -> None:
    request = wallet_pb2.GetBalanceRequest(user_id=new_id())
    call = wallet.GetBalance(request, metadata=metadata)
    assert await refused(call) == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


async def test_an_access_token_and_its_user_are_known(
    identity: Any, player: Player, key: Metadata
) -> None:
    holder = await identity.VerifyToken(
        identity_pb2.VerifyTokenRequest(token=player.token), metadata=key
    )
    assert holder.user_id == player.user_id
    assert holder.expires_at.seconds > 0
    user = await identity.GetUser(identity_pb2.GetUserRequest(user_id=player.user_id), metadata=key)
    assert (user.currency, user.status) == ("EUR", "active")
    forged = identity.VerifyToken(identity_pb2.VerifyTokenRequest(token="a.b.c"), metadata=key)
    assert (await refused(forged))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_a_deadline_that_has_passed_is_told(wallet: Any, key: Metadata) -> None:
    request = wallet_pb2.GetBalanceRequest(user_id=new_id())
    call = wallet.GetBalance(request, metadata=key, timeout=0.000001)
    assert (await refused(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_service_that_is_down_is_unavailable(
    wallet: Any, key: Metadata, services: Services
) -> None:
    await services.stop("wallet")
    try:
        request = wallet_pb2.GetBalanceRequest(user_id=new_id())
        call = wallet.GetBalance(request, metadata=key)
        assert await refused(call) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
    finally:
        await services("wallet")


async def test_health_and_reflection_answer_anybody(channel: grpc.aio.Channel) -> None:
    health = cast("Any", health_pb2_grpc).HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service="betmesh.wallet.v1.Wallet"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = cast("Any", reflection_pb2_grpc).ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    listed = [answer async for answer in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in listed[0].list_services_response.service}
    assert {"betmesh.wallet.v1.Wallet", "betmesh.identity.v1.Identity"} <= names


def bearing(key: str) -> Metadata:
    return (("authorization", f"Bearer {key}"),)


def test_a_key_of_the_settings_opens_only_its_scopes() -> None:
    clock = SystemClock()
    keys = Keys("main", "reader:wallet.read+identity.read, other:wallet.write", ALL_SCOPES, clock)
    keys.require("wallet.write", bearing("main"))
    keys.require("wallet.read", bearing("reader"))
    with pytest.raises(Forbidden):
        keys.require("wallet.write", bearing("reader"))
    with pytest.raises(Unauthenticated):
        Keys("", "", ALL_SCOPES, clock).require("wallet.read", bearing(""))
    with pytest.raises(DeclarationError):
        Keys("main", "reader:everything", ALL_SCOPES, clock)
    assert {"wallet.read", "wallet.write", "identity.read"} == ALL_SCOPES


async def test_a_key_that_an_admin_made_opens_its_scopes_until_it_is_ended(
    wallet: Any, operator: Operator
) -> None:
    make = contract.security.MakeApiKey(name="partner", scopes=["wallet.read"])
    made = await operator.call(contract.security.MAKE_API_KEY, make)
    nobody = wallet_pb2.GetBalanceRequest(user_id=new_id())

    async def answered(code: grpc.StatusCode) -> bool:
        call = wallet.GetBalance(nobody, metadata=bearing(made.key))
        return (await refused(call))[0] is code

    await until(lambda: answered(grpc.StatusCode.NOT_FOUND), "the key known at the door")
    undo = wallet_pb2.RollbackRequest(transfer_id=new_id(), original_transfer_id=new_id())
    forbidden = await refused(wallet.Rollback(undo, metadata=bearing(made.key)))
    assert forbidden == (grpc.StatusCode.PERMISSION_DENIED, "forbidden")
    end = contract.security.RevokeApiKey(key_id=made.key_id)
    await operator.call(contract.security.REVOKE_API_KEY, end)
    await until(lambda: answered(grpc.StatusCode.UNAUTHENTICATED), "the key refused at the door")


async def test_each_key_may_ask_so_often_and_is_told_when_to_come_back(
    wallet: Any, services: Services, operator: Operator, key: Metadata
) -> None:
    make = contract.security.MakeApiKey(name="eager", scopes=["wallet.read"])
    made = await operator.call(contract.security.MAKE_API_KEY, make)
    nobody = wallet_pb2.GetBalanceRequest(user_id=new_id())
    sizes = gateway_of(services.running["gateway"].runtimes[0]).limiter.sizes
    before, sizes["api_key"] = sizes["api_key"], (0.001, 2)
    try:
        codes: list[grpc.StatusCode] = []
        while True:
            call = wallet.GetBalance(nobody, metadata=bearing(made.key))
            codes.append((await refused(call))[0])
            if codes[-1] is not grpc.StatusCode.NOT_FOUND:
                break
        trailing = dict(await call.trailing_metadata())
        others = await refused(wallet.GetBalance(nobody, metadata=bearing("wrong")))
        own = wallet.GetBalance(nobody, metadata=key)
        assert (await refused(own))[0] is not grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        sizes["api_key"] = before
    found = grpc.StatusCode.NOT_FOUND
    assert codes == [found, found, grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert trailing["betmesh-problem"] == "rate-limited"
    assert int(trailing["retry-after"]) > 0
    assert others[0] is grpc.StatusCode.UNAUTHENTICATED
