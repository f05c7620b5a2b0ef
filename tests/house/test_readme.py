"""The README's transcript is the demo's own, and still true: every line of it is declared today."""

import re

from svc import catalogue
from svc.demo.conformance import declared
from svc.demo.diagram import arrows
from svc.demo.flows import FLOWS
from svc.generate.readme import README, part
from svc.generate.topology import Topology

STEP = re.compile(r"^ *\d+ {2,}(?P<source>\w+) {2,}(?P<target>\w+) {2,}(?P<what>call \w+|\w+Event)")


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


def test_the_commands_of_the_readme_are_recipes() -> None:
    recipes = (README.parent / "justfile").read_text()
    named = set(re.findall(r"`?\./just ([a-z][a-z-]+)", README.read_text()))

    assert named
    assert [name for name in named if not re.search(rf"^{name}\b", recipes, re.MULTILINE)] == []
