"""Runs services in this process: one, some, or all twelve, with the same code and broker.

SIGTERM ends it after a drain. SIGUSR2 makes it begin anew, with the code and settings of now, as
the same process and with the same listening sockets: who connects meanwhile waits in their queue.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator

import uvicorn
import uvloop

from svc.mesh import log, tls, tracing
from svc.mesh.errors import DeclarationError, Refused, Unavailable
from svc.mesh.http import application
from svc.mesh.patience import PatientForAWhile
from svc.mesh.runtime import Runtime
from svc.mesh.service import Service
from svc.mesh.settings import MissingSetting, Settings

ASKS_WITHIN_S = 1.0
LISTENERS = "BETMESH_LISTENERS"
"""Names the sockets that a process hands on to its next life: `gateway=7,identity=9`."""


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

    async def stop_accepting(self) -> None:
        """Accept nobody any more, and give those just accepted time to say what they want.

        uvicorn closes a connection that has not sent its request yet: its client would see a reset.
        """
        for listening in getattr(self, "servers", ()):
            listening.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASKS_WITHIN_S):
                while any(map(has_not_asked, self.server_state.connections)):  # noqa: ASYNC110 -- no event tells it
                    await asyncio.sleep(0.01)


def has_not_asked(connection: object) -> bool:
    """Whether an HTTP connection of uvicorn was accepted and nothing came yet."""
    return getattr(connection, "cycle", connection) is None


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


def handed_on() -> dict[str, int]:
    """Take what the life before this one left: descriptors of listening sockets, by service."""
    pairs = (pair.partition("=") for pair in os.environ.pop(LISTENERS, "").split(",") if pair)
    return {name: int(descriptor) for name, _, descriptor in pairs}


class Process:
    """Several services in one event loop."""

    def __init__(self, services: list[Service], settings: Settings) -> None:
        """Check all declarations and take all ports. Raises DeclarationError and PortTaken."""
        self.settings = settings
        self.runtimes = [Runtime(service, settings) for service in services]
        self.servers: list[Server] = []
        self.sockets: list[socket.socket] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.inherited = handed_on()
        for runtime in self.runtimes:
            self._prepare(runtime)

    def _prepare(self, runtime: Runtime) -> None:
        variable = f"{runtime.service.name.upper()}_PORT"
        host = self.settings.get(f"{runtime.service.name.upper()}_HOST", "127.0.0.1")
        if runtime.service.name in self.inherited:
            listener = socket.socket(fileno=self.inherited[runtime.service.name])
        else:
            listener = listen(host, int(self.settings[variable]), variable)
        pair = tls.http_pair(self.settings)
        scheme = "https" if pair else "http"
        runtime.metadata["http"] = f"{scheme}://{host}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            runtime.parts.door(runtime.service.name, application(runtime)),
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

    def keep_listening(self) -> dict[str, int]:
        """Return second descriptors of the sockets, which stay open through `stop` and exec."""
        kept: dict[str, int] = {}
        for runtime, listener in zip(self.runtimes, self.sockets, strict=True):
            kept[runtime.service.name] = descriptor = os.dup(listener.fileno())
            os.set_inheritable(descriptor, True)
        return kept

    async def stop(self) -> None:
        """Close the doors, then drain and stop all services."""
        await asyncio.gather(*(server.stop_accepting() for server in self.servers))
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


def settle() -> None:
    """Let collections of garbage look no more at what the start made: it stays for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)


async def serve(services: list[Service], settings: Settings) -> dict[str, int] | None:
    """Run services until SIGTERM or SIGINT, then drain.

    Returns the sockets to begin anew with after SIGUSR2, by service; None when it is the end.
    """
    process = Process(services, settings)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    again = asyncio.Event()

    def begin_anew() -> None:
        again.set()
        ended.set()

    told = asyncio.create_task(ended.wait())
    starting = asyncio.create_task(process.start())
    # A start waits for the broker as long as it takes; whoever wants it to end need not.
    await asyncio.wait([told, starting], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await process.stop()
        return None
    starting.result()
    settle()
    loop.add_signal_handler(signal.SIGUSR2, begin_anew)
    await asyncio.wait([told, *process.tasks], return_when=asyncio.FIRST_COMPLETED)
    crashed = not ended.is_set()
    kept = process.keep_listening() if again.is_set() else None
    await process.stop()
    told.cancel()
    if crashed:
        raise Unavailable("a service ended by itself; the log above says why")
    return kept


Loader = Callable[[str], Service]


def main(names: list[str], load: Loader) -> int:
    """Run the named services; returns the exit code, 0 after a clean end."""
    settings = Settings()
    log.configure(settings.get("LOG_LEVEL", "info"))
    try:
        tracing.begin()
        services = [load(name) for name in names]
        kept = uvloop.run(serve(services, settings))
    except EXPECTED as failure:
        print(f"{' '.join(names)}: {failure}", file=sys.stderr)
        return 1
    finally:
        tracing.end()
    if kept is not None:
        os.environ[LISTENERS] = ",".join(f"{name}={number}" for name, number in kept.items())
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # ourselves
    return 0
