"""`just dead`: list, show, replay and drop what no consumer could work on."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence

import msgspec
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from svc.mesh import desk, errors, letters
from svc.platform import operate
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation, prepare_default
from svc.platform.ports import SERVICES

CAUSE_SHOWN = 60


def dead(words: Sequence[str], installation: Installation | None = None) -> int:
    """Run one of the four; exit code 1 when an event still fails."""
    arguments = _parser().parse_args(words)
    if arguments.verb in {"replay", "drop"} and not (arguments.ids or arguments.all):
        raise PlatformError("nothing to do: name letters (./just dead list), or --all SERVICE")
    return asyncio.run(_run(arguments, installation or prepare_default()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just dead", description="Events that were parked.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    listing = verbs.add_parser("list", help="what waits for a decision, oldest first")
    listing.add_argument("consumer", nargs="?", choices=SERVICES, help="only of this service")
    listing.add_argument("--settled", action="store_true", help="also what was settled")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs.add_parser("show", help="one letter with its event").add_argument("id")
    for verb, text in (
        ("replay", "let the service work on it again; the inbox keeps it to one effect"),
        ("drop", "give it up; a note stays"),
    ):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("ids", nargs="*", metavar="id")
        command.add_argument("--all", choices=SERVICES, metavar="SERVICE", help="all of a service")
    return parser


async def _run(arguments: argparse.Namespace, installation: Installation) -> int:
    async with operate.operator(installation) as client:
        try:
            if arguments.verb == "list":
                return await _list(client, arguments)
            if arguments.verb == "show":
                return await _show(client, arguments.id)
            return await _settle(client, arguments)
        except (errors.NotFound, errors.Unavailable) as failure:
            raise PlatformError(failure.detail) from failure


async def _list(client: Client, arguments: argparse.Namespace) -> int:
    found, total = await letters.listed(
        client, arguments.consumer or "*", settled=arguments.settled
    )
    if arguments.json:
        print("\n".join(msgspec.json.encode(letter).decode() for letter in found))
        return 0
    if not found:
        print("no dead letters")
        return 0
    table = Table("id", "event", "attempts", "parked", "cause", box=None, pad_edge=False)
    for letter in found:
        cause = letter.cause if len(letter.cause) <= CAUSE_SHOWN else letter.cause[:57] + "..."
        state = f"{letter.settled}: " if letter.settled else ""
        parked = letter.parked_at.isoformat(sep=" ", timespec="seconds")
        table.add_row(letter.id, letter.subject, str(letter.attempts), parked, state + cause)
    Console(soft_wrap=True).print(table)
    if total > len(found):
        print(f"and {total - len(found)} more")
    return 0


async def _show(client: Client, name: str) -> int:
    letter = await letters.read(client, name)
    document = msgspec.to_builtins(letter)
    with contextlib.suppress(ValueError):  # it may be parked just because it is no JSON
        document["body"] = json.loads(letter.body)
    print(json.dumps(document, indent=2))
    return 0


async def _settle(client: Client, arguments: argparse.Namespace) -> int:
    ids = list(arguments.ids)
    if arguments.all:
        found, _ = await letters.listed(client, arguments.all)
        ids += [letter.id for letter in found if letter.id not in ids]
    if not ids:
        raise PlatformError(f"nothing to do: {arguments.all} has no dead letters")
    make = desk.dead_replay if arguments.verb == "replay" else desk.dead_drop
    failed = 0
    for name in ids:
        service = name.partition(".")[0]
        if service not in SERVICES:
            raise PlatformError(f"no letter is called {name!r}: it looks like casino.wallet.17")
        try:
            settled = await operate.ask(client, make(service), desk.Which(id=name))
            print(f"{name}: {settled.outcome}")
        except operate.RefusedError as refused:
            failed += 1
            print(f"{name}: {refused}", file=sys.stderr)
    return 1 if failed else 0
