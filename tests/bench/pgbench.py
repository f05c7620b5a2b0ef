"""pgbench, from the same wheel as the server: one prepared statement per transfer."""

import asyncio
import os
import re
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

from svc.platform.postgres_server import software
from tests.bench.measures import Taken, quantile
from tests.bench.stage import BenchError

SCRIPT = Path(__file__).parent / "peers" / "pgbench.sql"
WARM_PART = 0.2
"""The part of the time whose transactions do not count: plans and caches are made then."""


async def run(url: str, clients: int, seconds: float, players: int) -> tuple[Taken, float]:
    """Run pgbench; return what it saw, and the CPU seconds that it took itself.

    Raises BenchError with pgbench's own words when it fails.
    """
    whole = max(round(seconds / (1 - WARM_PART)), 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            str(software() / "bin" / "pgbench"),
            *("--no-vacuum", "--protocol=prepared", f"--client={clients}"),
            *(f"--jobs={min(clients, os.cpu_count() or 1)}", f"--time={whole}"),
            *(f"--define=players={players}", f"--file={SCRIPT}", "--random-seed=1"),
            *("--log", f"--log-prefix={folder}/log", url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )
        output, _ = await process.communicate()
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise BenchError(f"pgbench failed:\n{text}")
        failed = re.search(r"number of failed transactions: (\d+)", text)
        taken = _taken(Path(folder), whole, int(failed[1]) if failed else 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken, used


def _taken(folder: Path, seconds: int, failed: int) -> Taken:
    """Read the log of every transaction: its third field is microseconds, its last two the time."""
    ended: list[tuple[float, float]] = []
    for path in folder.glob("log*"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[2].isdigit():
                ended.append((int(words[4]) + int(words[5]) / 1e6, int(words[2]) / 1000))
    first = min((at for at, _ in ended), default=0.0)
    begin = first + seconds * WARM_PART
    last = max((at for at, _ in ended), default=0.0)
    took_ms = sorted(ms for at, ms in ended if at >= begin)
    return Taken(
        answered=len(took_ms),
        refused=0,
        failed=failed,
        asked=len(ended),
        seconds=max(last - begin, 0.001),
        p50_ms=round(quantile(took_ms, 0.5), 3),
        p99_ms=round(quantile(took_ms, 0.99), 3),
    )
