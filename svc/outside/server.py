"""What every outside program needs of HTTP: an application, its errors, a clean start and stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext

import msgspec
import uvicorn
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

log = logging.getLogger("outside")

GRACEFUL_STOP_S = 2
SERVER_ERROR = 500

HttpRequest = Request[object, object, State]


class Rejected(Exception):
    """A call that the provider refuses; each provider puts it into its own error form."""

    def __init__(self, status: int, message: str, *, code: str = "", kind: str = "") -> None:
        """Keep the HTTP status, the sentence, and the provider's own code and kind of error."""
        super().__init__(message)
        self.status, self.message, self.code, self.kind = status, message, code, kind


ErrorShape = Callable[[HttpRequest, Rejected], Response[bytes]]


def as_json(body: object, status: int = 200) -> Response[bytes]:
    """Answer with a JSON body."""
    content = msgspec.json.encode(body)
    return Response(content, status_code=status, media_type="application/json")


def _rejection(error: Exception) -> Rejected:
    if isinstance(error, Rejected):
        return error
    if isinstance(error, HTTPException):
        return Rejected(error.status_code, error.detail)
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        return Rejected(400, str(error))
    log.error("a handler failed", exc_info=error)
    return Rejected(SERVER_ERROR, "Something went wrong on the provider's side.")


def application(
    handlers: Sequence[ControllerRouterHandler],
    *,
    provider: object,
    shape: ErrorShape,
    on_startup: Sequence[Callable[[], Awaitable[None]]] = (),
    on_shutdown: Sequence[Callable[[], Awaitable[None]]] = (),
) -> Litestar:
    """Build an application whose handlers get `provider` and whose errors all have one form."""

    def provided() -> object:
        return provider

    def failed(request: HttpRequest, error: Exception) -> Response[bytes]:
        return shape(request, _rejection(error))

    return Litestar(
        handlers,
        dependencies={"provider": Provide(provided, sync_to_thread=False)},
        exception_handlers={HTTPException: failed, Exception: failed},
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        openapi_config=None,
        # The error goes out in the provider's form, so Litestar need not log it a second time.
        logging_config=None,
    )


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is up and leaves the signals to `serve`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.tried = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # pyright: ignore[reportIncompatibleMethodOverride] - a generator there, the same to its only caller
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.tried.set()


@asynccontextmanager
async def running(app: Litestar, port: int = 0) -> AsyncGenerator[str]:
    """Serve an application on loopback while the block runs, and give its URL; port 0 = a free one.

    Raises OSError when the port is taken and RuntimeError when the application does not start.
    """
    listener = socket.create_server(("127.0.0.1", port))
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            lifespan="on",
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_STOP_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    started = asyncio.create_task(server.tried.wait())
    try:
        await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        if not server.started:
            message = "the application did not start"
            raise RuntimeError(message)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        started.cancel()
        server.should_exit = True
        await serving
        listener.close()


async def serve(programs: Mapping[str, tuple[Litestar, int]]) -> None:
    """Serve the named applications on their ports until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with AsyncExitStack() as stack:
        for name, (app, port) in programs.items():
            url = await stack.enter_async_context(running(app, port))
            log.info("%s listens on %s", name, url)
        await stop.wait()


def run(programs: Mapping[str, tuple[Litestar, int]]) -> None:
    """Run applications as a program; end it with a clear sentence when a port is taken."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(programs))
    except OSError as error:
        message = f"cannot listen: {error}"
        raise SystemExit(message) from error
