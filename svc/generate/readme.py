"""Keeps the generated parts of README.md: the picture, and the demo's true transcript."""

import re
from pathlib import Path

from svc.generate.picture import picture
from svc.generate.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def replaced(text: str, name: str, content: str) -> str:
    """Return a text with one generated part replaced; raises ValueError without its marks."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"README.md lacks the marks of its generated part {name!r}")
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def part(text: str, name: str) -> str:
    """Return one generated part of a text."""
    begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
    return text.partition(begin)[2].partition(end)[0]


def readme(topology: Topology) -> str:
    """Return README.md with today's picture; the transcript is the demo's to write."""
    return replaced(README.read_text(), "picture", f"```mermaid\n{picture(topology)}\n```")


def record_transcript(transcript: str) -> None:
    """Write the demo's transcript into README.md."""
    lines = "\n".join(line.rstrip() for line in transcript.rstrip().splitlines())
    shown = f"```console\n$ ./just demo\n{lines}\n```"
    README.write_text(replaced(README.read_text(), "transcript", shown))
