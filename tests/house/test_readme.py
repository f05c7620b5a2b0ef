"""The README's transcript is the demo's own, and still true: every line of it is declared today."""

import re

from svc import catalogue
from svc.demo.conformance import declared
from svc.demo.diagram import arrows
from svc.demo.flows import DEPOSIT, FLOWS, STAKE, WITHDRAWAL
from svc.generate.readme import README, part
from svc.generate.topology import Topology

STEP = re.compile(r"^ *\d+ {2,}(?P<source>\w+) {2,}(?P<target>\w+) {2,}(?P<what>call \w+|\w+Event)")

MONEY = re.compile(r"wallet (?:before|after): +cash (\S+), bonus (\S+), held (\S+) EUR")


def transcript() -> dict[str, list[tuple[str, str, str]]]:
    """Return the steps of each flow that the README shows."""
    flows: dict[str, list[tuple[str, str, str]]] = {}
    name = ""
    for line in part(README.read_text(), "transcript").splitlines():
        if line.startswith("flow: ") and line.strip().removeprefix("flow: ") in FLOWS:
            name = line.strip().removeprefix("flow: ")
        found = STEP.match(line)
        if found:
            step = (found["source"], found["target"], found["what"].removeprefix("call "))
            flows.setdefault(name, []).append(step)
    return flows


def test_the_transcript_shows_every_arrow_of_the_four_flows() -> None:
    shown = transcript()

    assert list(shown) == list(FLOWS)
    for arrow in arrows():
        if arrow.flow and arrow.kind in {"call", "event"}:
            assert (arrow.source, arrow.target, arrow.label) in shown[arrow.flow], str(arrow)


def test_every_step_of_the_transcript_is_declared_today() -> None:
    words = declared(Topology(catalogue.services()))
    steps = [step for steps in transcript().values() for step in steps]

    assert len(steps) > 40
    assert [step for step in steps if step not in words.calls | words.events] == []


def test_the_transcript_ends_with_as_many_arrows_as_the_diagram_has() -> None:
    count = len(arrows())

    assert f"{count} of {count} arrows of the diagram seen" in part(
        README.read_text(), "transcript"
    )


def test_the_transcripts_wallet_holds_what_the_flows_leave_in_it() -> None:
    shown = part(README.read_text(), "transcript")
    wallets = [[round(float(amount) * 100) for amount in line] for line in MONEY.findall(shown)]
    before = dict(zip(FLOWS, wallets[::2], strict=True))
    after = dict(zip(FLOWS, wallets[1::2], strict=True))

    assert list(before.values())[1:] == list(after.values())[:-1]
    assert sum(after["bet placement"]) == sum(before["bet placement"]) - STAKE
    assert after["payment"] == [before["payment"][0] + DEPOSIT - WITHDRAWAL, 0, 0]


def test_the_commands_of_the_readme_are_recipes() -> None:
    recipes = (README.parent / "justfile").read_text()
    named = set(re.findall(r"`?\./just ([a-z][a-z-]+)", README.read_text()))

    assert named
    assert [name for name in named if not re.search(rf"^{name}\b", recipes, re.MULTILINE)] == []


def test_every_command_line_of_the_readmes_works_in_a_shell_of_its_own() -> None:
    """Only recipes have .venv on their PATH: whoever follows the README has its files alone."""
    settings = r"(?:[A-Z_]+=\S+ )*"
    for path in (README, *sorted((README.parent / "svc").glob("*/README.md"))):
        for line in path.read_text().splitlines():
            if line.startswith("$ "):
                assert re.match(rf"\$ {settings}\./just [a-z]", line), f"{path}: {line}"
            if "python -m svc" in line:
                assert ".venv/bin/python -m svc" in line, f"{path}: {line}"
