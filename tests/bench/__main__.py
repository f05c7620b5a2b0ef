"""`python -m tests.bench wallet`: measure, show, and write what README shows.

`python -m tests.bench mesh` and `sportsbook` are benchmarks of their own, see there.
"""

import argparse
import asyncio
import dataclasses
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT
from tests.bench import mesh, report, sportsbook
from tests.bench.stage import BenchError, Stage, staged
from tests.bench.wallet import FULL, QUICK, Bench, Findings, Size

UNFINISHED = ROOT / ".run" / "bench"
"""Where the results of runs lie that are not for README: quick ones, and parts."""


def main() -> int:
    """Run the benchmark named; exit code 1 when a promise of the ledger was broken."""
    if sys.argv[1:2] == ["sportsbook"]:
        return sportsbook.main(sys.argv[2:])
    if sys.argv[1:2] == ["mesh"]:
        return mesh.main(sys.argv[2:])
    arguments = _parser().parse_args()
    # What is not a terminal, such as a log, has room for the whole table.
    console = Console(width=None if sys.stdout.isatty() else 120)
    if arguments.again:
        found = report.read(report.RESULTS / "wallet.json")
        report.write(found)
        report.write_readme(found)
        report.show(found, console)
        return 0
    size = QUICK if arguments.quick else FULL
    chosen = {"rounds": arguments.rounds, "seconds": arguments.seconds}
    size = dataclasses.replace(size, **{k: v for k, v in chosen.items() if v is not None})
    try:
        with staged() as stage:
            measured = asyncio.run(_measured(stage, size, arguments.only, console))
    except (BenchError, PlatformError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    found = report.results(measured, size, quick=arguments.quick)
    report.show(found, console)
    whole = not arguments.quick and not arguments.only
    folder = report.RESULTS if whole else UNFINISHED
    written = [str(path.relative_to(ROOT)) for path in report.write(found, folder)]
    if whole and report.write_readme(found):
        written.append("README.md")
    console.print("wrote " + ", ".join(written))
    return 1 if found.broken else 0


async def _measured(stage: Stage, size: Size, only: list[str], console: Console) -> Findings:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("preparing", total=None)

        def measured(sentence: str) -> None:
            progress.console.print(sentence, highlight=False)
            progress.advance(task)

        def say(sentence: str) -> None:
            progress.update(task, description=sentence)
            if not console.is_terminal:
                console.print(sentence, highlight=False)

        bench = Bench(stage, size, say, measured)
        progress.update(task, total=bench.measurements(only))
        return await bench.run(only)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    parser.add_argument("what", choices=["wallet"])
    parser.add_argument("--rounds", type=int, help=f"default {FULL.rounds}")
    parser.add_argument("--seconds", type=float, help="per measurement")
    parser.add_argument("--quick", action="store_true", help="see that everything works")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME",
        help="sections that begin like this, such as wallet, grpc, pgbench, echo, mesh",
    )  # fmt: skip
    parser.add_argument(
        "--again", action="store_true", help="measure nothing: write chart and README anew"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
