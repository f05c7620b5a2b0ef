"""`just policy`: canaries, mirrors, faults and limits of calls, set while everything runs."""

import argparse
import asyncio
import getpass
import json
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from svc.mesh.errors import Invalid
from svc.mesh.policy_releases import STABLE
from svc.mesh.policy_rules import (
    ALL,
    AUDIT_STREAM,
    BUCKET,
    KINDS,
    Canary,
    Policy,
    Scope,
    has_ended,
    read,
)
from svc.mesh.service import Service
from svc.mesh.watching import OPERATION, bucket_stream
from svc.mesh.wire import EXPECTED_STREAM
from svc.platform import operate, policy_routes
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation, prepare_default

FAULT_H_MAX = 24
LOGGED = 50
UNITS = {"s": 1, "m": 60, "h": 3600}
BY_HEADER = "Policy-By"


def policy(
    words: Sequence[str],
    installation: Installation | None = None,
    services: Sequence[Service] | None = None,
) -> int:
    """Run one of the five; PlatformError with a sentence when a policy is not valid."""
    arguments = _parser().parse_args(words)
    if services is None:
        from svc import catalogue  # all services: not for those who only ask for help

        services = catalogue.services()
    return asyncio.run(Desk(installation or prepare_default(), services).run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just policy", description="Where calls go, and how.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    kinds = verbs.add_parser("set", help="let a policy count from now on").add_subparsers(
        dest="kind", required=True
    )
    canary = kinds.add_parser("canary", help="another release answers a share of the calls")
    _scoped(canary, callers=False)
    canary.add_argument("--release", required=True, help="as in WALLET_RELEASE=blue")
    canary.add_argument("--percent", required=True, type=_percent)
    mirror = kinds.add_parser("mirror", help="WALLET_RELEASE=shadow sees copies of a share")
    _scoped(mirror).add_argument("--percent", required=True, type=_percent)
    fault = _scoped(kinds.add_parser("fault", help="a share of the calls waits, or fails"))
    fault.add_argument("--percent", type=_percent, default=100)
    fault.add_argument("--delay", type=int, metavar="MS", help="wait so long before it is sent")
    fault.add_argument("--abort", help="unavailable, timeout or internal")
    fault.add_argument("--for", dest="lasting", required=True, metavar="TIME", help="as in 90s, 5m")
    limit = _scoped(kinds.add_parser("limit", help="how long calls wait, how many are under way"))
    limit.add_argument("--timeout", type=int, metavar="MS")
    limit.add_argument("--in-flight", type=int, metavar="N", help="for each instance of a caller")
    show = verbs.add_parser("show", help="what counts now")
    show.add_argument("--json", action="store_true", help="one JSON object a line")
    clear = verbs.add_parser("clear", help="let a policy count no more")
    clear.add_argument("kind", choices=(*KINDS, "all"), help="all: every policy there is")
    _scoped(clear, optional=True)
    verbs.add_parser("log", help=f"the last {LOGGED} changes: when, by whom, what")
    verbs.add_parser("sync", help="let the broker divide calls as the policies say")
    return parser


def _scoped(
    parser: argparse.ArgumentParser, *, callers: bool = True, optional: bool = False
) -> argparse.ArgumentParser:
    """Add whose calls a policy concerns."""
    text = "SERVICE, or one call of it: SERVICE.VERB"
    parser.add_argument("callee", help=text, nargs="?" if optional else None)
    if callers:
        parser.add_argument("--from", dest="caller", default=ALL, metavar="SERVICE")
    return parser


def _percent(text: str) -> int:
    return int(text.removesuffix("%"))


class Desk:
    """The operator's side of the bucket of policies."""

    def __init__(self, installation: Installation, services: Sequence[Service]) -> None:
        self.installation = installation
        self.services = {service.name: service for service in services}

    async def run(self, arguments: argparse.Namespace) -> int:
        """Do what was asked; exit code 0."""
        async with operate.operator(self.installation) as client:
            try:
                await getattr(self, arguments.verb)(client, arguments)
            except nats.js.errors.NotFoundError as missing:
                raise PlatformError("the broker has no bucket of policies: ./just migrate") from (
                    missing
                )
            except nats.errors.Error as failure:
                raise PlatformError(f"the broker does not take it: {failure}") from failure
        return 0

    async def set(self, client: Client, arguments: argparse.Namespace) -> None:
        """Let one policy count from now on."""
        scope = self._scope(arguments.kind, arguments)
        wanted = _wanted(arguments)
        known = {**_valid(await entries(client)), scope: wanted}
        policy_routes.mappings(known)  # refused before anything is written
        await write(client, scope.key, msgspec.json.encode(wanted))
        if isinstance(wanted, Canary):
            await policy_routes.route(self.installation, known)
            await self._warn_of_nobody(client, scope, wanted)
        print(f"{scope.key}: {msgspec.json.encode(wanted).decode()}")

    async def clear(self, client: Client, arguments: argparse.Namespace) -> None:
        """Let policies count no more."""
        there = await entries(client)
        if arguments.kind == "all":
            keys = sorted(there)
        elif arguments.callee is None:
            raise PlatformError(f"of which service? ./just policy clear {arguments.kind} SERVICE")
        else:
            scope = self._scope(arguments.kind, arguments, known=False)
            keys = [scope.key] if scope.key in there else []
        for key in keys:
            await write(client, key, None)
            del there[key]
            print(f"{key}: cleared")
        if not keys:
            print("nothing to clear: ./just policy show")
        await policy_routes.route(self.installation, _valid(there))

    async def show(self, client: Client, arguments: argparse.Namespace) -> None:
        """Print what is in the bucket, and what is wrong with it."""
        there = await entries(client)
        if arguments.json:
            for key, body in sorted(there.items()):
                print(msgspec.json.encode(_told(key, body)).decode())
            return
        if not there:
            print("no policies: every call goes its plain way")
        else:
            table = Table("kind", "caller", "callee", "policy", box=None, pad_edge=False)
            for key, body in sorted(there.items()):
                table.add_row(*_row(key, body))
            Console(soft_wrap=True).print(table)
        if not policy_routes.is_routed(self.installation, _valid(there)):
            print("the broker divides calls otherwise than these canaries: ./just policy sync")

    async def log(self, client: Client, _: argparse.Namespace) -> None:
        """Print the last changes."""
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(AUDIT_STREAM)).state
        if not state.messages:  # its first is then said to be number 0, which nobody can ask for
            print("no policy was ever changed")
            return
        first = max(state.first_seq, state.last_seq - LOGGED + 1)
        for sequence in range(first, state.last_seq + 1):
            message = await jetstream.get_msg(AUDIT_STREAM, sequence)
            headers = cast("dict[str, str]", message.headers or {})
            at = message.time.isoformat(sep=" ", timespec="seconds") if message.time else "?"
            key = (message.subject or "").removeprefix(f"$KV.{BUCKET}.")
            said = "cleared" if OPERATION in headers else (message.data or b"").decode()
            print(f"{at}  {headers.get(BY_HEADER, 'somebody')}  {key}  {said}")

    async def sync(self, client: Client, _: argparse.Namespace) -> None:
        """Let the broker divide calls as the bucket says."""
        await policy_routes.route(self.installation, _valid(await entries(client)))
        print("the broker divides calls as the policies say")

    def _scope(self, kind: str, arguments: argparse.Namespace, *, known: bool = True) -> Scope:
        """Read whose calls are meant; PlatformError when nobody makes such calls."""
        callee, _, verb = arguments.callee.partition(".")
        scope = Scope(kind, getattr(arguments, "caller", ALL), callee, verb or ALL)
        if known:
            self._require(scope)
        return scope

    def _require(self, scope: Scope) -> None:
        for name in (scope.callee, scope.caller):
            if name not in self.services and name != ALL:
                there = ", ".join(sorted(self.services))
                raise PlatformError(f"no such service: {name!r}; there are: {there}")
        if scope.callee == ALL:
            raise PlatformError("a policy concerns one service: name it")
        answers = {call.verb: call.subject for call in self.services[scope.callee].contract.answers}
        if scope.verb != ALL and scope.verb not in answers:
            raise PlatformError(
                f"{scope.callee} answers no call {scope.verb!r}; it answers: {', '.join(answers)}"
            )
        subjects = {s for verb, s in answers.items() if scope.verb in {ALL, verb}}
        if scope.caller != ALL and not subjects & self.services[scope.caller].may_call():
            raise PlatformError(f"{scope.caller} declares no such call of {scope.callee}")

    async def _warn_of_nobody(self, client: Client, scope: Scope, canary: Canary) -> None:
        """Say so when no instance of the release is there: its share goes to the stable ones."""
        releases = await running(client, scope.callee)
        if canary.release not in releases:
            name = scope.callee.upper()
            print(
                f"no instance of {scope.callee} {canary.release} runs, so all calls go on to "
                f"{STABLE}; start one: {name}_RELEASE={canary.release} {name}_PORT=0 "
                f"./just run {scope.callee}"
            )


def _wanted(arguments: argparse.Namespace) -> Policy:
    """The policy that the words describe; PlatformError that says what is wrong with it."""
    given: dict[str, Any]
    if arguments.kind == "canary":
        given = {"release": arguments.release, "percent": arguments.percent}
    elif arguments.kind == "mirror":
        given = {"percent": arguments.percent}
    elif arguments.kind == "fault":
        until = datetime.now(UTC) + lasting(arguments.lasting)
        given = {"percent": arguments.percent, "until": until.replace(microsecond=0)}
        given |= {"delay_ms": arguments.delay, "abort": arguments.abort}
    else:
        given = {"timeout_ms": arguments.timeout, "in_flight": arguments.in_flight}
    try:
        return msgspec.convert(given, KINDS[arguments.kind])
    except msgspec.ValidationError as failure:
        raise PlatformError(f"no valid {arguments.kind}: {failure}") from failure


def lasting(text: str) -> timedelta:
    """Read how long a fault lasts (90s, 5m, 2h); PlatformError when it is no such time."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smh])", text)
    length = timedelta(seconds=int(found[1]) * UNITS[found[2]]) if found else timedelta(0)
    if not timedelta(0) < length <= timedelta(hours=FAULT_H_MAX):
        raise PlatformError(
            f"{text!r} is no time for a fault: 90s, 5m or 2h, at most {FAULT_H_MAX}h; it ends "
            "by itself, so that nobody forgets it"
        )
    return length


async def entries(client: Client) -> dict[str, bytes]:
    """Everything in the bucket, by key.

    Asked for key by key: a watch of nats-py can say that this was all before the first came, when
    the server's word of what is left overtakes what it has sent.
    """
    jetstream = client.jetstream()
    root = f"$KV.{BUCKET}."
    state = (await jetstream.stream_info(bucket_stream(BUCKET), subjects_filter=f"{root}>")).state
    bucket = await jetstream.key_value(BUCKET)
    found: dict[str, bytes] = {}
    for key in (subject.removeprefix(root) for subject in state.subjects or {}):
        try:
            found[key] = (await bucket.get(key)).value or b""
        except nats.js.errors.NotFoundError:
            continue  # what stands there says that it was deleted
    return found


async def write(client: Client, key: str, body: bytes | None) -> None:
    """Put one key, or delete it, and say who did it."""
    headers = {
        EXPECTED_STREAM: bucket_stream(BUCKET),
        BY_HEADER: f"{getpass.getuser()}@{socket.gethostname()}",
    }
    if body is None:
        headers[OPERATION] = "DEL"
    try:
        await client.jetstream().publish(f"$KV.{BUCKET}.{key}", body or b"", headers=headers)
    except nats.js.errors.APIError as refusal:
        raise PlatformError(f"the bucket does not take {key}: {refusal.description}") from refusal


async def running(client: Client, service: str) -> set[str]:
    """The releases of a service of which an instance answers."""
    from svc.mesh.discovery import survey

    answers = await survey(client, "operator", f"$SRV.PING.{service}", wait_s=0.3)
    return {answer["metadata"].get("release", STABLE) for answer in answers}


def _valid(there: dict[str, bytes]) -> dict[Scope, Policy]:
    """The entries that services heed."""
    found: dict[Scope, Policy] = {}
    for key, body in there.items():
        try:
            scope, one = read(key, body)
        except Invalid:
            continue
        found[scope] = one
    return found


def _told(key: str, body: bytes) -> dict[str, Any]:
    try:
        return {"key": key, "policy": read(key, body)[1]}
    except Invalid as refused:
        return {"key": key, "ignored": refused.detail}


def _row(key: str, body: bytes) -> tuple[str, str, str, str]:
    try:
        scope, one = read(key, body)
    except Invalid as refused:
        return key, "", "", f"ignored, not valid: {refused.detail}"
    given = json.loads(msgspec.json.encode(one))
    said = " ".join(f"{name}={value}" for name, value in given.items())
    ended = " (ended)" if has_ended(one, datetime.now(UTC)) else ""
    callee = scope.callee if scope.verb == ALL else f"{scope.callee}.{scope.verb}"
    return scope.kind, scope.caller, callee, said + ended
