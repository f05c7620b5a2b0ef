"""Canaries in the broker: its subject mapping from the policies, and the reload that applies it.

`mappings.conf` beside server.conf, which includes it. A reload disconnects nobody.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import nats.errors

from svc.mesh.policy_rules import ALL, Canary, Policy, Scope
from svc.platform import nats_server, streams
from svc.platform.errors import PlatformError
from svc.platform.installation import Installation

SYSTEM_S = 5


def mappings(policies: Mapping[Scope, Policy]) -> str:
    """The broker's mapping of every canary; without one it costs no publication anything.

    PlatformError when one call of a service and the whole service have a canary: which of two
    mappings counts for a subject is the broker's secret.
    """
    canaries = {s: p for s, p in sorted(policies.items()) if isinstance(p, Canary)}
    lines: list[str] = []
    for scope, canary in canaries.items():
        whole = scope._replace(verb=ALL)
        if scope != whole and whole in canaries:
            raise PlatformError(
                f"{scope.callee} has a canary as a whole; clear it before {scope.callee}."
                f"{scope.verb} gets one: ./just policy clear canary {scope.callee}"
            )
        verb, kept = ("*", "{{wildcard(2)}}") if scope.verb == ALL else (scope.verb, scope.verb)
        destination = f"release.{scope.callee}.{{{{wildcard(1)}}}}.{canary.release}.{kept}"
        lines += [
            f'  "rpc.{scope.callee}.*.{verb}": [',
            f'    {{ destination: "{destination}", weight: {canary.percent}% }}',
            "  ]",
        ]
    text = "".join(line + "\n" for line in lines)
    return nats_server.MAPPINGS.format(text)


def is_routed(installation: Installation, policies: Mapping[Scope, Policy]) -> bool:
    """Whether the broker's configuration says what the policies say."""
    return nats_server.mappings_file(installation.run_dir).read_text() == mappings(policies)


async def route(installation: Installation, policies: Mapping[Scope, Policy]) -> None:
    """Have the broker divide calls as the policies say, if it does not yet.

    PlatformError when it does not take it; the mapping is then as before.
    """
    path, text = nats_server.mappings_file(installation.run_dir), mappings(policies)
    before = path.read_text()
    if text == before:
        return
    if "nats" not in installation.own:
        _write(path, text)
        raise PlatformError(f"the broker is not ours: let it include {path}, and reload it")
    _write(path, text)
    try:
        await reload(installation)
    except PlatformError:
        _write(path, before)
        raise


async def reload(installation: Installation) -> None:
    """Let the broker read its configuration again; PlatformError with its words when it refuses."""
    await ask_server(installation, "RELOAD")


async def ask_server(
    installation: Installation, verb: str, body: Mapping[str, object] | None = None
) -> None:
    """Have the broker itself do something, as its own account asks; PlatformError as `reload`."""
    client = await streams.connect(installation, "system")
    try:
        answer = await client.request("$SYS.REQ.SERVER.PING", b"", SYSTEM_S)
        server = json.loads(answer.data)["server"]["id"]
        subject = f"$SYS.REQ.SERVER.{server}.{verb}"
        answer = await client.request(subject, json.dumps(body or {}).encode(), SYSTEM_S)
    except nats.errors.Error as error:
        raise PlatformError(f"the broker did not answer {verb}: {error}") from error
    finally:
        await client.close()
    refusal = json.loads(answer.data).get("error")
    if refusal:
        raise PlatformError(f"the broker refused {verb}: {refusal['description']}")


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".new")
    partial.write_text(text)
    partial.replace(path)
