"""`just replay SERVICE --since …`: tell a service its events again, to rebuild what it derived.

The service forgets, then its consumers go back in their streams. Nothing need stand still: what it
works on meanwhile is forgotten with its inbox row, or comes again as a duplicate. Whoever dies
in between leaves a service that has forgotten; the same command again finishes the work.
"""

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client

from svc.mesh import desk
from svc.mesh.clock import new_id
from svc.mesh.rebuild import CLOCKS_APART
from svc.platform import operate
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation, prepare_default
from svc.platform.ports import SERVICES


def replay(words: Sequence[str], installation: Installation | None = None) -> int:
    """Run the command; PlatformError names what stands in the way."""
    parser = argparse.ArgumentParser(prog="just replay", description=replay.__doc__)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--since", required=True, help="2026-11-01 or 2026-11-01T06:00:00Z")
    arguments = parser.parse_args(words)
    since = operate.instant(arguments.since)
    told = asyncio.run(rebuild(installation or prepare_default(), arguments.service, since))
    print(f"{arguments.service} is told {told} events again")
    return 0


async def rebuild(installation: Installation, service: str, since: datetime) -> int:
    """Tell a service again what happened since an instant; returns how many events that is."""
    async with operate.operator(installation) as client:
        consumers = await _consumers(client, service)
        if not consumers:
            raise PlatformError(f"{service} hears no events")
        infos = [await operate.jetstream(client, f"STREAM.INFO.{name}") for name in consumers]
        upto = {info["config"]["name"]: info["state"]["last_seq"] for info in infos}
        forgotten = await operate.ask(
            client,
            desk.forget(service),
            desk.Rebuild(since=since, upto=upto, kept_since=_kept_since(infos)),
        )
        begin = forgotten.since - CLOCKS_APART
        told = 0
        for stream in consumers:
            sequence = await _first_since(client, stream, begin)
            body = {"seq": sequence}
            info = await operate.jetstream(client, f"CONSUMER.RESET.{stream}.{service}", body)
            told += int(info["num_pending"])
    return told


async def _consumers(client: Client, service: str) -> list[str]:
    """The streams on which a service has its durable consumer."""
    names: list[str] = []
    while True:
        page = await operate.jetstream(client, "STREAM.NAMES", {"offset": len(names)})
        names += page.get("streams") or []
        if len(names) >= page["total"]:
            break
    found: list[str] = []
    for name in names:
        page = await operate.jetstream(client, f"CONSUMER.NAMES.{name}")
        if service in (page.get("consumers") or []):
            found.append(name)
    return found


def _kept_since(infos: list[dict[str, Any]]) -> datetime | None:
    """From when on all streams are complete; None when none has lost anything to its age."""
    lost = [info["state"] for info in infos if info["state"]["first_seq"] > 1]
    if not lost:
        return None
    return max(datetime.fromisoformat(state["first_ts"]) for state in lost)


async def _first_since(client: Client, stream: str, begin: datetime) -> int:
    """The sequence of the first event that a stream took since an instant."""
    # The server looks a time up only for a consumer: one is made, asked and forgotten.
    name = "since_" + new_id().replace("-", "")
    config = {
        "name": name,
        "deliver_policy": "by_start_time",
        "opt_start_time": begin.astimezone(UTC).isoformat(),
        "ack_policy": "none",
        "inactive_threshold": 5_000_000_000,
    }
    made = await operate.jetstream(
        client, f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}
    )
    await operate.jetstream(client, f"CONSUMER.DELETE.{stream}.{name}")
    return int(made["delivered"]["stream_seq"]) + 1
