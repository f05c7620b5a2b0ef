"""Runs services in this process: one, some, or all twelve, with the same code and broker."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Generator

import uvicorn
import uvloop

from svc.mesh import log, tls
from svc.mesh.errors import DeclarationError, Refused, Unavailable
from svc.mesh.http import application
from svc.mesh.patience import PatientForAWhile
from svc.mesh.runtime import Runtime
from svc.mesh.service import Service
from svc.mesh.settings import MissingSetting, Settings

BODY_LIMIT_BYTES = 4 * 1024 * 1024


class PortTaken(Exception):
    """A port is in use; the text names the variable that moves it."""


EXPECTED = (DeclarationError, MissingSetting, PortTaken, Refused, Unavailable)
"""Failures of a start that a sentence explains; anything else is a bug."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process, which may run several."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take no signals."""
        yield


SEND_BUFFER_BYTES = 128 * 1024


def listen(host: str, port: int, variable: str) -> socket.socket:
    """Return a listening socket; raises PortTaken that names the variable to set."""
    # asyncio switches Nagle's wait (40 ms an answer) off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it: a client that stops reading is noticed soon, not after megabytes.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listener.bind((host, port))
    except OSError as failure:
        listener.close()
        raise PortTaken(
            f"port {port} is taken; set {variable} to another one, or stop what holds it"
        ) from failure
    return listener


class Process:
    """Several services in one event loop."""

    def __init__(self, services: list[Service], settings: Settings) -> None:
        """Check all declarations and take all ports. Raises DeclarationError and PortTaken."""
        self.settings = settings
        self.runtimes = [Runtime(service, settings) for service in services]
        self.servers: list[Server] = []
        self.sockets: list[socket.socket] = []
        self.tasks: list[asyncio.Task[None]] = []
        for runtime in self.runtimes:
            self._prepare(runtime)

    def _prepare(self, runtime: Runtime) -> None:
        variable = f"{runtime.service.name.upper()}_PORT"
        host = self.settings.get(f"{runtime.service.name.upper()}_HOST", "127.0.0.1")
        listener = listen(host, int(self.settings[variable]), variable)
        pair = tls.http_pair(self.settings)
        scheme = "https" if pair else "http"
        runtime.metadata["http"] = f"{scheme}://{host}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            application(runtime),
            loop="none",
            http=PatientForAWhile,
            ws="websockets-sansio",
            lifespan="off",  # the services start before their doors open, and end after them
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=5,
            ssl_certfile=pair[0] if pair else None,
            ssl_keyfile=pair[1] if pair else None,
            ws_max_size=64 * 1024,
            # Compressing each message once per client costs more than loopback or a LAN saves.
            ws_per_message_deflate=False,
            # Nobody may choose their own address by a header; the gateway knows whom it trusts.
            proxy_headers=False,
        )
        self.sockets.append(listener)
        self.servers.append(Server(config))

    async def start(self) -> None:
        """Start all services, then open their HTTP; returns when all of it is ready.

        Raises Unavailable that says in a sentence which service cannot start and why; the others
        are stopped again.
        """
        outcomes = await asyncio.gather(
            *(runtime.start() for runtime in self.runtimes), return_exceptions=True
        )
        failed = [
            self._why(runtime, outcome)
            for runtime, outcome in zip(self.runtimes, outcomes, strict=True)
            if isinstance(outcome, BaseException)
        ]
        if failed:
            await self.stop()
            raise Unavailable("; ".join(failed))
        for server, listener in zip(self.servers, self.sockets, strict=True):
            self.tasks.append(asyncio.create_task(server.serve(sockets=[listener])))
        while not all(server.started for server in self.servers):
            if any(task.done() for task in self.tasks):
                await self.stop()
                raise Unavailable("HTTP did not start; the log above says why")
            await asyncio.sleep(0.01)

    @staticmethod
    def _why(runtime: Runtime, failure: BaseException) -> str:
        """Return why a service did not start; only a bug is worth a traceback, in the log."""
        if isinstance(failure, EXPECTED):
            return f"{runtime.service.name} cannot start: {failure}"
        runtime.log.error("the start failed", exc_info=failure)
        return f"{runtime.service.name} did not start; the log above says why"

    async def stop(self) -> None:
        """Close the doors, then drain and stop all services."""
        for server in self.servers:
            server.should_exit = True
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for listener in self.sockets:
            listener.close()
        outcomes = await asyncio.gather(
            *(runtime.stop() for runtime in self.runtimes), return_exceptions=True
        )
        for runtime, outcome in zip(self.runtimes, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                runtime.log.error("the end failed", exc_info=outcome)


YOUNG_MAX = 20_000
"""New objects before garbage is looked for: a batch makes thousands that all go by themselves."""


async def serve(services: list[Service], settings: Settings) -> None:
    """Run services until SIGTERM or SIGINT, then drain."""
    process = Process(services, settings)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    told = asyncio.create_task(ended.wait())
    starting = asyncio.create_task(process.start())
    # A start waits for the broker as long as it takes; whoever wants it to end need not.
    await asyncio.wait([told, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await process.stop()
        return
    starting.result()
    # What the start made stays for good: no collection need look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
    await asyncio.wait([told, *process.tasks], return_when=asyncio.FIRST_COMPLETED)
    crashed = not ended.is_set()
    await process.stop()
    told.cancel()
    if crashed:
        raise Unavailable("a service ended by itself; the log above says why")


Loader = Callable[[str], Service]


def main(names: list[str], load: Loader) -> int:
    """Run the named services; returns the exit code, 0 after a clean end."""
    settings = Settings()
    log.configure(settings.get("LOG_LEVEL", "info"))
    try:
        services = [load(name) for name in names]
        uvloop.run(serve(services, settings))
    except EXPECTED as failure:
        print(f"{' '.join(names)}: {failure}", file=sys.stderr)
        return 1
    return 0
