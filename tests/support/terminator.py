"""Postgres behind TLS: the wheel's server is built without, so this stands where another has it.

It speaks the part of the protocol that comes before a connection is encrypted (SSLRequest), then
hands on what it decrypts. Whoever does not ask for encryption is turned away.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)
CHUNK_BYTES = 64 * 1024


@contextmanager
def terminated(port: int, certificate: str, key: str) -> Generator[int]:
    """Yield a port of loopback at which the Postgres of another port answers over TLS only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()
    relays: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        relays.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _relay(reader, writer, context, port)
        finally:
            # A polite end of TLS waits for the other side, which waits for us.
            writer.transport.abort()
            relays.discard(task)

    async def serve() -> None:
        async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            started.set()
            await ended.wait()
        # Whoever is still connected must be hung up on while the loop runs: what it closed late,
        # the garbage collector would find open in the middle of somebody else's test.
        for relay in tuple(relays):
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, port: int
) -> None:
    """Encrypt one connection, and hand on what comes until either side ends."""
    if await reader.readexactly(len(SSL_REQUEST)) != SSL_REQUEST:
        return
    writer.write(b"S")
    await writer.start_tls(context)
    behind = await asyncio.open_connection("127.0.0.1", port)
    ways = [
        asyncio.create_task(way)
        for way in (_hand_on(reader, behind[1]), _hand_on(behind[0], writer))
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        behind[1].transport.abort()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
