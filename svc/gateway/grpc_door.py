"""The gRPC door: external callers reach some calls with an API key, deadlines included.

A method is data: its protobuf name, the call behind it and the scope it needs. Messages have the
fields of the call's JSON, so one handler serves them all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
import msgspec
from google.protobuf import json_format, message_factory
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from proto.betmesh.identity.v1 import identity_pb2
from proto.betmesh.wallet.v1 import wallet_pb2
from svc.gateway import own_limits
from svc.gateway.answers import RateLimited
from svc.gateway.keys import Keys
from svc.identity import contract as identity
from svc.mesh import tls
from svc.mesh.context import Context
from svc.mesh.errors import (
    Conflict,
    DeclarationError,
    Forbidden,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    Refused,
    TimedOut,
    Unauthenticated,
    Unavailable,
    problem,
)
from svc.wallet import contract as wallet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
    from google.protobuf.message import Message
    from msgspec import Struct

    from svc.gateway.state import Gateway
    from svc.mesh.contract import Call

GRACE_S = 5.0
PROBLEM_METADATA = "betmesh-problem"
RETRY_METADATA = "retry-after"
"""How many seconds a caller who asked too often should wait."""


@dataclass(frozen=True)
class Method:
    """One method: `<package>.<service>/<name>`, what it calls, and the scope that opens it."""

    file: FileDescriptor
    name: str
    call: Call[Any, Any]
    scope: str
    ask: Callable[[Context, Any], Awaitable[Struct]] | None = None
    """What is asked in the place of the call alone."""

    @property
    def service(self) -> str:
        """Return the full name of the service; each file has one."""
        return next(iter(self.file.services_by_name.values())).full_name

    @property
    def descriptor(self) -> MethodDescriptor:
        """Return the method as the .proto file has it."""
        return next(iter(self.file.services_by_name.values())).methods_by_name[self.name]


METHODS = (
    Method(wallet_pb2.DESCRIPTOR, "GetBalance", wallet.BALANCE, "wallet.read"),
    Method(
        wallet_pb2.DESCRIPTOR, "DeductBalance", wallet.DEDUCT_BALANCE, "wallet.write",
        own_limits.deduct,
    ),
    Method(
        wallet_pb2.DESCRIPTOR, "CreditBalance", wallet.CREDIT_BALANCE, "wallet.write",
        own_limits.credit,
    ),
    Method(
        wallet_pb2.DESCRIPTOR, "Rollback", wallet.ROLLBACK, "wallet.write", own_limits.rollback
    ),
    Method(identity_pb2.DESCRIPTOR, "VerifyToken", identity.VERIFY_TOKEN, "identity.read"),
    Method(identity_pb2.DESCRIPTOR, "GetUser", identity.GET_USER, "identity.read"),
)  # fmt: skip
ALL_SCOPES = frozenset(method.scope for method in METHODS)

STATUS_OF: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
    (RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.ALREADY_EXISTS),
    (IdempotencyMismatch, grpc.StatusCode.ALREADY_EXISTS),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)
"""The first class that fits decides; what fits none is a bug, INTERNAL."""


async def start(gateway: Gateway) -> None:
    """Open the door on GATEWAY_GRPC_PORT; the gateway closes it at its end.

    With GRPC_TLS_CERT and GRPC_TLS_KEY (or TLS_CERT and TLS_KEY), paths of PEM files, it speaks
    TLS. Raises Unavailable when the port is taken.
    """
    keys = Keys(
        gateway.setting("GRPC_API_KEY", ""),
        gateway.setting("GRPC_API_KEYS", ""),
        ALL_SCOPES,
        gateway.runtime.clock,
    )
    gateway.closing.append(keys.stop)
    await keys.start(gateway.runtime.context())
    # Two gateways on one port would share its callers at random.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    names = await _add_services(server, gateway, keys)
    host = gateway.setting("GATEWAY_HOST", "127.0.0.1")
    port = gateway.setting("GATEWAY_GRPC_PORT", "50051")
    try:
        _listen(server, gateway, f"{host}:{port}")
    except RuntimeError as failure:
        raise Unavailable(
            f"port {port} is taken; set GATEWAY_GRPC_PORT to another one, or stop what holds it"
        ) from failure
    await server.start()

    async def close() -> None:
        await server.stop(GRACE_S)

    gateway.closing.append(close)
    gateway.log.info("gRPC door open", port=port, services=names)


def _listen(server: grpc.aio.Server, gateway: Gateway, address: str) -> None:
    settings = gateway.runtime.settings
    certificate, key = (tls.path_of(settings, "GRPC", kind) for kind in ("CERT", "KEY"))
    if bool(certificate) != bool(key):
        raise DeclarationError("GRPC_TLS_CERT and GRPC_TLS_KEY go together")
    if not certificate:
        server.add_insecure_port(address)
        return
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


async def _add_services(server: grpc.aio.Server, gateway: Gateway, keys: Keys) -> list[str]:
    names = sorted({method.service for method in METHODS})
    for name in names:
        handlers = {
            method.name: _handler(gateway, keys, method)
            for method in METHODS
            if method.service == name
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    servicer = cast("Any", health).aio.HealthServicer()
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    shown = (*names, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(shown, server)
    return names


def _handler(gateway: Gateway, keys: Keys, method: Method) -> Any:
    request_type = message_factory.GetMessageClass(method.descriptor.input_type)
    reply_type = message_factory.GetMessageClass(method.descriptor.output_type)

    async def answer(request: Message, call_context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            key = keys.require(method.scope, call_context.invocation_metadata())
            await gateway.limiter.admit("api_key", key)
            metadata = dict(call_context.invocation_metadata() or ())
            traceparent = str(metadata.get("traceparent", ""))
            left_s = call_context.time_remaining()
            reply = await _ask(gateway, method, request, left_s, traceparent)
        except Exception as failure:
            if not isinstance(failure, (Refused, Unavailable)):
                gateway.log.exception("a gRPC call failed", method=method.name)
            code, details, name = status_of(failure)
            told = [(PROBLEM_METADATA, name)]
            if isinstance(failure, RateLimited):
                told.append((RETRY_METADATA, str(failure.members["retry_after"])))
            await call_context.abort(code, details, tuple(told))
        return json_format.ParseDict(
            msgspec.to_builtins(reply), reply_type(), ignore_unknown_fields=True
        )

    name = f"{method.service}/{method.name}"
    return grpc.unary_unary_rpc_method_handler(
        gateway.runtime.parts.rpc(gateway.runtime.service.name, name, answer),
        request_type.FromString,
        reply_type.SerializeToString,
    )


async def _ask(
    gateway: Gateway,
    method: Method,
    message: Message,
    remaining_s: float | None,
    traceparent: str,
) -> Struct:
    """Ask the service; the caller's deadline, in seconds from now, holds for all it causes."""
    values = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    try:
        # protobuf writes 64 bit numbers as text in JSON.
        request = msgspec.convert(values, method.call.request, strict=False)
    except msgspec.ValidationError as failure:
        raise Invalid(str(failure)) from failure
    deadline = None if remaining_s is None else time.time() + remaining_s
    context = Context(gateway.runtime, deadline=deadline, traceparent=traceparent)
    if method.ask is not None:
        return await method.ask(context, request)
    return cast("Struct", await context.call(method.call, request))


def status_of(failure: BaseException) -> tuple[grpc.StatusCode, str, str]:
    """Return status code, details and the problem's name for a failure."""
    document = problem(failure)
    name = str(document["type"]).rpartition(":")[2]
    code = next(
        (code for kind, code in STATUS_OF if isinstance(failure, kind)), grpc.StatusCode.INTERNAL
    )
    return code, f"{name}: {document['detail']}", name
