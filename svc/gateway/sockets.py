"""WebSockets: the live channels of all contracts, each a path, from `contract.pushes` alone.

Close codes: 4401 no valid token (any more), 1008 refused (the reason names the problem), 1013 try
again later: too slow, too many, or the service is not there.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from nats.errors import Error as NatsError

from svc.gateway import balances
from svc.gateway.access import Holder
from svc.gateway.answers import RateLimited
from svc.mesh.errors import Invalid, NotFound, Refused, Unauthenticated, Unavailable
from svc.mesh.wire import encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from msgspec import Struct

    from svc.gateway.live import Follower
    from svc.gateway.state import Gateway
    from svc.mesh.contract import Live

Socket = WebSocket[Any, Any, Any]

SUBPROTOCOL = "betmesh.v1"
BEARER = "bearer."
KEY = re.compile(r"[A-Za-z0-9_:-]{1,128}")
"""What may stand in a subject as one token; NATS' wildcards and dots may not."""
CLOSE_WAIT_S = 10.0
RECHECK_S = 0.5
"""How often an open socket's token is looked at again."""
NO_TOKEN, REFUSED, TRY_LATER, BUG = 4401, 1008, 1013, 1011


def handlers(gateway: Gateway) -> list[Any]:
    """Return a WebSocket handler for every live channel of every contract, and for balances."""
    pushed = [live for contract in gateway.contracts for live in contract.pushes]
    return [_handler(gateway, live) for live in (*pushed, balances.BALANCES)]


def _handler(gateway: Gateway, live: Live[Struct]) -> Any:
    async def follow(socket: Socket) -> None:
        await serve(gateway, live, socket)

    path = live.path.replace("{key}", "{key:str}")
    return websocket(path, name=f"ws.{live.channel}")(follow)


class TooSlow(Exception):
    """The client does not read as fast as its channel speaks."""


async def serve(gateway: Gateway, live: Live[Struct], socket: Socket) -> None:
    """Serve one client until it leaves, is too slow, or may no longer listen."""
    offered: Sequence[str] = socket.scope.get("subprotocols", ())
    await socket.accept(subprotocols=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    code, reason = BUG, "internal"
    try:
        await _follow(gateway, live, socket, offered)
    except WebSocketDisconnect:
        return
    except Unauthenticated as failure:
        code, reason = NO_TOKEN, failure.name
    except RateLimited as failure:
        code, reason = TRY_LATER, failure.name
    except Refused as failure:
        code, reason = REFUSED, failure.name
    except TooSlow:
        code, reason = TRY_LATER, "too slow"
    except (Unavailable, NatsError):
        code, reason = TRY_LATER, "unavailable"
    except Exception:
        gateway.log.exception("a live channel failed", channel=live.channel)
    try:
        # A client that reads nothing can't be told; its connection is closed all the same.
        await asyncio.wait_for(socket.close(code, reason), CLOSE_WAIT_S)
    except (TimeoutError, WebSocketDisconnect, OSError, RuntimeError):
        gateway.log.info("a client left without a close frame", channel=live.channel)


async def _follow(
    gateway: Gateway, live: Live[Struct], socket: Socket, offered: Sequence[str]
) -> None:
    """Send the current state and then every change; what ends it is raised."""
    holder = None
    if live.role != "public":
        token = next((text for text in offered if text.startswith(BEARER)), "")
        try:
            holder = gateway.access.require(token.removeprefix(BEARER), live.role)
        except (Refused, Unavailable):
            await gateway.admit("public", None, socket.scope)
            raise
    await gateway.admit("player" if holder else "public", holder, socket.scope)
    key = _key_of(live, socket, holder)
    request = encode(_snapshot_request(live, key, holder))

    async def state() -> str:
        return (await gateway.ask(live.snapshot, request)).decode()

    def still_allowed() -> None:
        if holder:
            gateway.access.still_valid(holder, live.role)

    async with gateway.hub.follow(live.subject(key), live.pace_ms / 1000) as follower:
        newer = balances.newer_only() if live is balances.BALANCES else bool
        first = await state()
        newer(first)
        await socket.send_data(first)
        # None of the three ends but by raising why.
        tasks: set[asyncio.Task[Any]] = {
            asyncio.create_task(_send_all(socket, follower, newer)),
            asyncio.create_task(_read_all(socket)),
            asyncio.create_task(_watch(gateway, follower, still_allowed, state)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _key_of(live: Live[Struct], socket: Socket, holder: Holder | None) -> str:
    if "{key}" in live.path:
        key = str(socket.path_params["key"])
        if not KEY.fullmatch(key):
            raise NotFound
        return key
    return holder.user_id if holder else "all"


def _snapshot_request(live: Live[Struct], key: str, holder: Holder | None) -> Struct:
    values: dict[str, str] = {}
    if live.snapshot_key:
        values[live.snapshot_key] = key
    fields = {field.name for field in msgspec.structs.fields(live.snapshot.request)}
    if holder and "user_id" in fields:
        values["user_id"] = holder.user_id
    try:
        return msgspec.convert(values, live.snapshot.request)
    except msgspec.ValidationError as failure:
        raise Invalid(str(failure)) from failure


async def _watch(
    gateway: Gateway,
    follower: Follower,
    still_allowed: Callable[[], None],
    state: Callable[[], Awaitable[str]],
) -> None:
    """Look after one follower, who may become too slow or may no longer listen.

    After NATS was away the state is sent again, since the changes of that time are lost.
    """
    reconnects = gateway.runtime.connection.stats["reconnects"]
    while True:
        try:
            await asyncio.wait_for(follower.overflowed.wait(), RECHECK_S)
        except TimeoutError:
            still_allowed()
        else:
            raise TooSlow
        if gateway.runtime.connection.stats["reconnects"] != reconnects:
            reconnects = gateway.runtime.connection.stats["reconnects"]
            follower.offer(await state())


async def _send_all(socket: Socket, follower: Follower, newer: Callable[[str], bool]) -> None:
    while True:
        text = await follower.next()
        if newer(text):
            await socket.send_data(text)


async def _read_all(socket: Socket) -> None:
    """Read until the client leaves; these channels take nothing from clients."""
    while True:
        await socket.receive_data(mode="text")
