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

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                behind = await asyncio.open_connection("127.0.0.1", port)
                ways = _hand_on(reader, behind[1]), _hand_on(behind[0], writer)
                tasks = [asyncio.create_task(way) for way in ways]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                behind[1].transport.abort()
        # A polite end of TLS waits for the other side, which waits for us.
        writer.transport.abort()

    async def serve() -> None:
        async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
