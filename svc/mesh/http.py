"""The small HTTP side of every service: health, readiness, metrics, and its own routes if any."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from litestar import Litestar, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from svc.mesh.observed import STANDING
from svc.mesh.runtime import Runtime


def health_routes(runtime: Runtime) -> list[Any]:
    """Return `/healthz` (alive), `/readyz` (each dependency) and `/metrics` (Prometheus)."""

    @get("/healthz", include_in_schema=False, sync_to_thread=False)
    def healthz() -> dict[str, str]:
        return {"status": "alive", "service": runtime.service.name}

    @get("/readyz", include_in_schema=False, sync_to_thread=False)
    def readyz() -> Response[dict[str, Any]]:
        checks = {name: check() for name, check in runtime.dependencies().items()}
        ready = all(checks.values())
        body = {
            "status": "ready" if ready else "not ready",
            "service": runtime.service.name,
            "instance": runtime.instance,
            "checks": checks,
            "start_to_ready_s": round(runtime.started_s, 3),
            **{name: told() for name, told in runtime.notes.items()},
        }
        return Response(body, status_code=200 if ready else 503)

    @get("/metrics", include_in_schema=False)
    async def metrics() -> Response[bytes]:
        await STANDING.refresh()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [healthz, readyz, metrics]


def own_module(name: str) -> Any | None:
    """Return the `http` module of a service that has one."""
    return import_module(f"svc.{name}.http") if find_spec(f"svc.{name}.http") else None


def application(runtime: Runtime) -> Litestar:
    """Return the ASGI application of a service; process.py starts the service before it serves.

    A service's `http` module may have `routes`, a list or a function of the context, and
    `application_options(context)`, more arguments for Litestar; routes of its own replace ours.
    """
    module = own_module(runtime.service.name)
    routes: Any = getattr(module, "routes", [])
    found: Any = routes(runtime.context()) if callable(routes) else routes
    own: list[Any] = list(found)
    own_options = getattr(module, "application_options", None)
    options: dict[str, Any] = own_options(runtime.context()) if own_options else {}
    taken = {path for route in own for path in getattr(route, "paths", ())}
    health = [route for route in health_routes(runtime) if not route.paths & taken]
    options.setdefault("openapi_config", None)
    options.setdefault("logging_config", None)
    return Litestar(route_handlers=[*health, *own], **options)
