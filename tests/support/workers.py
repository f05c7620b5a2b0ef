"""Runs the folders of the suite in a few processes side by side, each with servers of its own."""

import os
from pathlib import PurePosixPath

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

FIRST = (
    "wallet_faults", "journeys", "platform", "scheduler", "gateway", "notification", "reporting"
)  # fmt: skip
"""What takes longest begins first, so that nothing long is left for the end; then the others.

Reporting is not long, but it is told a whole day again, and the wallet's audit purges a stream."""
WORKERS_MAX = 2
"""More would wait for each other's processes: these tests start many of their own."""


def folder_of(nodeid: str) -> str:
    """Return the folder in tests/ that a test or an argument lies in, or what stands for all."""
    parts = PurePosixPath(nodeid.partition("::")[0]).parts
    below = parts[parts.index("tests") + 1 :] if "tests" in parts else ()
    return below[0] if below else ""


def count(config: pytest.Config) -> int:
    """Return as many processes as are of use: none beside this one for tests of one folder."""
    folders = {folder_of(argument) for argument in config.args}
    if len(folders) == 1 and "" not in folders:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores or 1, WORKERS_MAX)
    return workers if workers > 1 else 0


class Folders(LoadScopeScheduling):
    """Gives each folder to one process: its tests share servers, services and their order."""

    def _split_scope(self, nodeid: str) -> str:
        return folder_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        for folder in reversed(FIRST):
            if folder in self.workqueue:
                self.workqueue.move_to_end(folder, last=False)
        super()._assign_work_unit(node)
