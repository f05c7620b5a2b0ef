"""What the peers' service processes have in common: where their database is, and saying `ready`."""

import asyncio
import signal


async def until_told() -> None:
    """Say that this process is ready, and wait for SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print("ready", flush=True)
    await ended.wait()
