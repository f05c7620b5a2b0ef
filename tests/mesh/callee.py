"""The answering service of these tests as a process of its own, to be stopped and killed."""

import asyncio
import os
import signal
import sys

from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from svc.platform.installation import ROOT, Installation
from tests.mesh.pair import Memory, answering


class Callee:
    """Starts, stops and kills that process."""

    def __init__(self, installation: Installation) -> None:
        """Nothing runs yet."""
        self.settings = {**installation.values, "BETMESH_RUN": str(installation.run_dir)}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Run it; returns when it answers."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.mesh.callee",
            cwd=ROOT, env={**os.environ, **self.settings}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.process = process
        assert process.stdout is not None
        while (line := await process.stdout.readline()) != b"answers\n":
            assert line, "the callee ended before it answered"

    def hang(self) -> None:
        """Let it do nothing any more, with its connection open."""
        self._tell(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was."""
        self._tell(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without any chance to say goodbye."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            await process.communicate()

    def _tell(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


async def answer() -> None:
    """Answer until the process is killed."""
    runtime = Runtime(answering(Memory()), Settings())
    await runtime.start()
    print("answers", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(answer())
