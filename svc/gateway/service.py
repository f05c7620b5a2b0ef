"""gateway, as the mesh runs it: it calls what has a route or a door, and hears nothing."""

import msgspec
from msgspec import Struct

from svc import catalogue
from svc.gateway import balances, grpc_door
from svc.gateway.contract import (
    GATEWAY,
    ROUTES,
    TOPOLOGY,
    Routes,
    RoutesOf,
    ServedRoute,
    Topology,
    TopologyOf,
)
from svc.gateway.state import gateway_of
from svc.gateway.topology import topology_of
from svc.identity import contract as identity
from svc.mesh.context import Context
from svc.mesh.contract import Call
from svc.mesh.discovery import survey
from svc.mesh.observed import Report
from svc.mesh.service import Extras, Service
from svc.wallet import contract as wallet

TOLD_WITHIN_S = 0.5
"""How long the services have to tell their edges; who is slower is missing in the map."""


def _calls() -> tuple[Call[Struct, Struct], ...]:
    """Return every call that a client can reach through one of the doors."""
    contracts = catalogue.contracts()
    found = [call for contract in contracts for call in contract.answers if call.route]
    found += [door.call for contract in contracts for door in contract.doors]
    found += [live.snapshot for contract in contracts for live in contract.pushes]
    found += [method.call for method in grpc_door.METHODS]
    found.append(balances.BALANCES.snapshot)
    found += [identity.AUTHORIZE, identity.COUNT_STAKE, identity.play.COUNT_RETURN]
    return tuple({call.subject: call for call in found}.values())


gateway = Service(
    GATEWAY,
    calls=_calls(),
    reads=(identity.IDENTITY, wallet.WALLET),
    extras=Extras(subscribes=(balances.BALANCES.subject(">"),)),
    redis=True,
    localizes=("problems",),
)


@gateway.answers(ROUTES)
async def list_routes(request: RoutesOf, context: Context) -> Routes:
    """List every path with its role and the call behind it, for staff."""
    await identity.require_permission(context, request.actor_id, "gateway.routes")
    served = [
        ServedRoute(
            method=form.route.method,
            path=form.route.path,
            role=form.route.role,
            subject=form.call.subject,
        )
        for form in gateway_of(context.runtime).forms
    ]
    served += [
        ServedRoute(method="POST", path=door.path, role="public", subject=door.call.subject)
        for contract in gateway_of(context.runtime).contracts
        for door in contract.doors
    ]
    return Routes(items=served)


@gateway.answers(TOPOLOGY)
async def show_topology(request: TopologyOf, context: Context) -> Topology:
    """Ask every running service which edges it saw, for staff."""
    await identity.require_permission(context, request.actor_id, "gateway.topology")
    connection = context.runtime.connection
    told = await survey(connection, context.service, "$SRV.EDGES", TOLD_WITHIN_S)
    reports = [msgspec.convert(answer, Report) for answer in told]
    return topology_of(reports, catalogue.NAMES, context.clock)


@gateway.on_start
async def open_doors(context: Context) -> None:
    """Watch identity's keys, then open the gRPC door."""
    running = gateway_of(context.runtime)
    await running.access.start(context)
    await grpc_door.start(running)


@gateway.on_stop
async def close_doors(context: Context) -> None:
    """Let gRPC callers finish, then let go of everything."""
    running = gateway_of(context.runtime)
    for close in reversed(running.closing):
        await close()
    await running.access.stop()
