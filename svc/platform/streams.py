"""Applies the generated streams, consumers and buckets to the broker: create or update."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client

from svc.mesh import tls
from svc.mesh.connection import Connection
from svc.platform import keys
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT, Installation

DIRECTORY = ROOT / "jetstream"
TIMEOUT_S = 5
CONNECT_S = 5
NAME_IN_USE = 10058  # "stream name already in use with a different configuration"

Say = Callable[[str], None]


async def apply(installation: Installation, say: Say = print, directory: Path = DIRECTORY) -> None:
    """Bring streams, buckets and consumers to what the files say.

    Never deletes: what the broker has and no file mentions is named, for a person to judge.
    Raises PlatformError naming the file that the broker refuses, with its words.
    """
    started = time.monotonic()
    client = await connect(installation, "deploy")
    try:
        streams = [*_files(directory / "streams"), *_files(directory / "buckets")]
        for path, config in streams:
            await _stream(client, path, config)
        consumers = _files(directory / "consumers")
        for path, body in consumers:
            name = body["config"]["durable_name"]
            await _ask(client, f"CONSUMER.CREATE.{body['stream_name']}.{name}", body, path)
        declared = {(body["stream_name"], body["config"]["durable_name"]) for _, body in consumers}
        for stream in (config["name"] for _, config in streams):
            if stream.startswith("KV_"):
                continue  # whoever watches a bucket has a consumer there, for as long as that
            for name in await _durable_names(client, stream):
                if (stream, name) not in declared:
                    say(f"  consumer {stream} > {name} is declared nowhere any more; if it may go:")
                    say(f"    ./just nats consumer rm {stream} {name}")
    finally:
        await client.close()
    say(
        f"broker: {len(streams)} streams and buckets, {len(consumers)} consumers up to date "
        f"({time.monotonic() - started:.1f} s)"
    )


async def connect(installation: Installation, user: str) -> Connection:
    """A connection to the installation's broker as one of its users, with that user's inbox."""
    seed = keys.seed_file(installation.run_dir, user)

    failures: list[Exception] = []

    async def note(failure: Exception) -> None:
        """The failure is raised below; nats-py would also print a traceback."""
        failures.append(failure)

    connection = Connection()
    try:
        # A first connection is tried again and again, whatever is said of reconnecting.
        async with asyncio.timeout(CONNECT_S):
            await connection.connect(
                installation["NATS_URL"],
                name=user,
                nkeys_seed=str(seed),
                inbox_prefix=f"_INBOX.{user}",
                tls=tls.nats_context(installation.values),
                connect_timeout=CONNECT_S,
                allow_reconnect=False,
                error_cb=note,
            )
    except (OSError, nats.errors.Error, ssl.SSLError, TimeoutError) as error:
        cause = failures[-1] if failures else error
        raise PlatformError(
            f"no connection to NATS at {installation['NATS_URL']} as {user}: "
            f"{str(cause) or type(cause).__name__}{_way_out(installation)}"
        ) from error
    return connection


def _way_out(installation: Installation) -> str:
    if "nats" in installation.own:
        return "; start it with: ./just up"
    return (
        ". A server of your own needs the users that "
        f"stand in {installation.run_dir / 'nats' / 'server.conf'}"
    )


def _files(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text())) for path in sorted(directory.glob("*.json"))]


async def _stream(client: Client, path: Path, config: dict[str, Any]) -> None:
    try:
        await _ask(client, f"STREAM.CREATE.{config['name']}", config, path)
    except _RefusedError as error:
        if error.code != NAME_IN_USE:
            raise
        await _ask(client, f"STREAM.UPDATE.{config['name']}", config, path)


async def _durable_names(client: Client, stream: str) -> list[str]:
    """The consumers that stay; one without a durable name goes with whoever made it."""
    consumers: list[dict[str, Any]] = []
    while True:
        asked = {"offset": len(consumers)}
        page = await _ask(client, f"CONSUMER.LIST.{stream}", asked, DIRECTORY)
        consumers += page.get("consumers") or []
        if len(consumers) >= page["total"]:
            return [one["name"] for one in consumers if "durable_name" in one["config"]]


class _RefusedError(PlatformError):
    """JetStream's own refusal, with its code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


async def _ask(client: Client, verb: str, body: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        answer = await client.request(f"$JS.API.{verb}", json.dumps(body).encode(), TIMEOUT_S)
    except nats.errors.Error as error:
        raise PlatformError(
            f"{path}: no answer to {verb} ({type(error).__name__}); has the user 'deploy' the "
            "right, and does the server run JetStream?"
        ) from error
    reply: dict[str, Any] = json.loads(answer.data)
    if "error" in reply:
        refusal = reply["error"]
        raise _RefusedError(f"{path}: {refusal['description']}", refusal["err_code"])
    return reply
