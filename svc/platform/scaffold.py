"""Writes a new service that answers one call, is tested, and passes `just check` as it is."""

import keyword
import re
import subprocess
import sys
from pathlib import Path
from string import Template

from svc.platform import ports
from svc.platform.errors import PlatformError
from svc.platform.installation import ROOT

NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
# What already stands in svc/, is a user of the broker, or would read as something else in subjects,
# file names and policies.
TAKEN = (
    *("mesh", "platform", "generate", "outside", "demo", "all"),
    *("operator", "observer", "deploy", "shadow", "system"),
)

FILES = {
    "svc/$name/__init__.py": "",
    "svc/$name/contract.py": '''\
"""$name: greets, until it has something better to do.

The one module of this service that others may import.
"""

from svc.mesh.contract import Call, Contract
from svc.mesh.types import Reply, Request


class Greet(Request, frozen=True, kw_only=True):
    """Whom to greet."""

    name: str


class Greeting(Reply, frozen=True, kw_only=True):
    """What was said."""

    text: str


GREET = Call(
    "rpc.$name.v1.greet",
    Greet,
    Greeting,
    "Greet somebody.",
    idempotent=True,
)

$upper = Contract(
    name="$name",
    version="1.0.0",
    purpose="Greets, until it has something better to do.",
    answers=(GREET,),
)
''',
    "svc/$name/service.py": '''\
"""$name, as the mesh runs it: what it hears and calls, then one handler for each."""

from svc.mesh.context import Context
from svc.mesh.service import Service
from svc.$name.contract import GREET, $upper, Greet, Greeting

$name = Service($upper)


@$name.answers(GREET)
async def greet(request: Greet, _context: Context) -> Greeting:
    return Greeting(text=f"hello, {request.name}")
''',
    "svc/$name/README.md": """\
# $name

What it owns, in one sentence.

Invariants
- What must always hold.

Look inside
- `./just nats req rpc.$name.v1.greet '{"name": "Ann"}'`
- `./just logs $name`
""",
    "tests/$name/__init__.py": "",
    "tests/$name/test_service.py": '''\
"""$name answers what it declares, over a real broker."""

from svc.$name.contract import GREET, Greet
from tests.support.mesh import Operator, Services


async def test_it_greets_by_name(services: Services, operator: Operator) -> None:
    await services("$name")

    greeting = await operator.call(GREET, Greet(name="Ann"))

    assert greeting.text == "hello, Ann"
''',
}
# Where every service is listed: file -> (pattern of the last one, replacement).
LISTS = {
    "svc/catalogue.py": (
        r'(\n    "[a-z0-9]+",)(\n\)\n"""Every service folder)',
        r'\1\n    "$name",\2',
    ),
    "svc/platform/ports.py": (
        r'(SERVICES = \((?:\n    "[a-z0-9]+",)+)(\n\))',
        r'\1\n    "$name",\2',
    ),
    "pyproject.toml": (r'("svc\.scheduler")', r'\1, "svc.$name"'),
    "Procfile": (
        r"(payment_provider: )",
        r"$name: exec python -m svc run $name\n\1",
    ),
}


def new_service(name: str, root: Path = ROOT) -> int:
    """Write the files and list the service everywhere; raises PlatformError for a bad name."""
    if not NAME.fullmatch(name):
        raise PlatformError(
            f"{name!r} is no name for a service: 2 to 31 of a-z and 0-9, a letter first"
        )
    known = {*ports.SERVICES, *ports.OUTSIDE, *ports.SERVERS, *TAKEN, *sys.stdlib_module_names}
    known |= set(keyword.kwlist)  # no module of such a name can be imported
    if name in known or any((root / home / name).exists() for home in ("svc", "tests")):
        raise PlatformError(f"{name!r} is taken; look at svc/ and tests/ and choose another")
    words = {"name": name, "upper": name.upper()}
    # All edits are made in memory first: a list that does not look as expected changes nothing.
    texts = {path: _listed(root, path, *edit, name) for path, edit in LISTS.items()}
    texts |= {Template(p).substitute(words): _fill(t, words) for p, t in FILES.items()}
    for path, text in texts.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        print(f"wrote {path}")
    # The order of imports follows from the name.
    ruff = Path(sys.executable).with_name("ruff")
    written = [str(root / "svc" / name), str(root / "tests" / name)]
    subprocess.run([ruff, "check", "--fix", "--quiet", *written], cwd=root, check=False)
    subprocess.run([ruff, "format", "--quiet", *written], cwd=root, check=False)
    # In a process of its own: this one has the lists of before in memory.
    done = subprocess.run([sys.executable, "-m", "svc", "generate"], cwd=root, check=False)
    print(
        f"\nnext: write svc/{name}/contract.py, then ./just generate && ./just check && ./just test"
    )
    return done.returncode


def _fill(text: str, words: dict[str, str]) -> str:
    return Template(text).substitute(words)


def _listed(root: Path, path: str, pattern: str, replacement: str, name: str) -> str:
    text, count = re.subn(pattern, replacement.replace("$name", name), (root / path).read_text())
    if count == 0:
        raise PlatformError(f"{path} does not list services as expected; nothing was changed")
    return text
