"""What the demo prints: a timeline per flow, balances, and how many arrows were seen."""

from rich.console import Console
from rich.table import Table

from svc.demo.session import FlowResult, Outcome
from svc.demo.wiretap import Seen

QUIET_VERBS = {"authorize"}


def steps(result: FlowResult) -> list[Seen]:
    """Return the calls and events of a flow, each once, in the order they were seen."""
    found: dict[tuple[str, str, str], Seen] = {}
    for seen in result.seen:
        if seen.kind not in {"call", "event"} or seen.topic in {"scheduler", "notification"}:
            continue
        if seen.kind == "call" and (not seen.source or seen.label in QUIET_VERBS):
            continue
        if seen.kind == "call" and seen.target == "reporting":
            continue  # the demo itself asking whether the numbers are there
        found.setdefault((seen.source, seen.target, seen.label), seen)
    return list(found.values())


def print_flow(console: Console, result: FlowResult) -> None:
    """Print the timeline of a flow and the wallet before and after it."""
    table = Table(title=f"flow: {result.name}", title_justify="left", box=None, pad_edge=False)
    table.add_column("ms", justify="right")
    table.add_column("from")
    table.add_column("to")
    table.add_column("what")
    table.add_column("subject", overflow="fold")
    for seen in steps(result):
        what = seen.label if seen.kind == "event" else f"call {seen.label}"
        milliseconds = f"{(seen.at - result.began) * 1000:.0f}"
        table.add_row(milliseconds, seen.source, seen.target, what, seen.subject)
    console.print(table)
    console.print(f"wallet before: {_money(result.before)}")
    console.print(f"wallet after:  {_money(result.after)}\n")


def _money(balance: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount / 100:.2f}" for name, amount in balance.items()) + " EUR"


def print_arrows(console: Console, outcome: Outcome) -> None:
    """Print what was not seen, and the last line: how many arrows of how many."""
    for arrow in outcome.missing:
        console.print(f"not seen: {arrow}", style="bold red", markup=False)
    seen = len(outcome.arrows) - len(outcome.missing)
    console.print(f"{seen} of {len(outcome.arrows)} arrows of the diagram seen on the wire")
