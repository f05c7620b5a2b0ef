"""Whether work is traced: the parts that a service is made of, plain or with spans around them.

W3C trace context travels with every call and event anyway (wire.py, envelope.py). Spans are made
only where OpenTelemetry's standard variables name a collector, by subclasses of the parts
(traced.py): where they are not wanted nothing is asked, and the SDK is not even imported.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from svc.mesh.caller import Caller
from svc.mesh.consumer import Consumer
from svc.mesh.context import Context
from svc.mesh.database import Database
from svc.mesh.endpoint import Endpoint
from svc.mesh.errors import Unavailable
from svc.mesh.outbox import Relay

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
EXPORTER = "OTEL_TRACES_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"

Batch = Callable[[str, str, Iterable[Context]], AbstractContextManager[object]]
"""Stands around one statement for many pieces of work: service, statement, their contexts."""
NOTHING = nullcontext()


def plain_door(_: str, application: Any) -> Any:
    """Return an ASGI application as it is."""
    return application


def plain_batch(_: str, __: str, ___: Iterable[Context]) -> AbstractContextManager[object]:
    """Stand around nothing."""
    return NOTHING


@dataclass(frozen=True)
class Parts:
    """What a running service is made of."""

    caller: type[Caller] = Caller
    endpoint: type[Endpoint] = Endpoint
    consumer: type[Consumer] = Consumer
    relay: type[Relay] = Relay
    database: type[Database] = Database
    door: Callable[[str, Any], Any] = plain_door
    batch: Batch = plain_batch


PLAIN = Parts()
_parts = PLAIN


def parts() -> Parts:
    """Return the parts of which a service that starts now is made."""
    return _parts


def begin(environment: Mapping[str, str] = os.environ) -> bool:
    """Trace what starts from now on, if the environment says where to; returns whether it does.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ names the
    variables. Raises Unavailable for an exporter or a protocol that is not spoken here.
    """
    global _parts  # noqa: PLW0603  # one export per process
    wanted = environment.get(EXPORTER) or "otlp"
    off = wanted == "none" or environment.get(DISABLED, "").strip().lower() == "true"
    if off or not any(map(environment.get, ENDPOINTS)):
        return False
    if wanted != "otlp":
        raise Unavailable(f"{EXPORTER}={wanted} is not known here: set otlp or none")
    protocol = next(filter(None, map(environment.get, PROTOCOLS)), PROTOCOL)
    if protocol != PROTOCOL:
        raise Unavailable(f"{PROTOCOLS[1]}={protocol} is not spoken here: set {PROTOCOL}")
    from svc.mesh import spans, traced  # the SDK, for which only those pay who want it

    spans.EXPORT.begin()
    _parts = traced.PARTS
    return True


def end() -> None:
    """Export what is left and trace nothing that starts from now on."""
    global _parts  # noqa: PLW0603  # one export per process
    if _parts is not PLAIN:
        _parts = PLAIN
        from svc.mesh import spans

        spans.EXPORT.end()
