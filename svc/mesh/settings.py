"""Settings: what the environment says, else what the first start wrote to `.run/settings.env`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path


class MissingSetting(KeyError):
    """A setting that nobody gave; the text says how to give it."""

    def __str__(self) -> str:
        """Return the sentence as it is (KeyError would quote it)."""
        return str(self.args[0])


def run_directory() -> Path:
    """Return where this installation keeps its state: `BETMESH_RUN`, else `.run` here."""
    return Path(os.environ.get("BETMESH_RUN", ".run"))


def read_settings_file(path: Path) -> dict[str, str]:
    """Return the KEY=value lines of a file; empty when there is no file."""
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {key.strip(): value.strip() for key, mark, value in pairs if mark and key[:1] != "#"}


class Settings(Mapping[str, str]):
    """The settings of one process; explicit overrides win, then the environment, then the file."""

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        """Read the file of the run directory once."""
        self.overrides = dict(overrides or {})
        self.directory = Path(self.overrides.get("BETMESH_RUN", run_directory()))
        self.file = read_settings_file(self.directory / "settings.env")

    def __getitem__(self, name: str) -> str:
        """Return a setting; raises MissingSetting, which names it.

        A variable that is set to nothing counts as not set: an empty secret would open a door.
        """
        for source in (self.overrides, os.environ, self.file):
            if source.get(name):
                return source[name]
        raise MissingSetting(
            f"{name} is not set: run `./just up` once (it writes {self.directory}/settings.env), "
            f"or set {name} in the environment"
        )

    def __iter__(self) -> Iterator[str]:
        """Yield every known name."""
        return iter({**self.file, **os.environ, **self.overrides})

    def __len__(self) -> int:
        """Return how many names are known."""
        return len({**self.file, **os.environ, **self.overrides})

    def nkey_seed(self, user: str) -> str:
        """Return the nkey seed of a NATS user, made at first start."""
        path = self.directory / "nats" / f"{user}.nk"
        if not path.exists():
            raise MissingSetting(f"{path} is missing: run `./just up` once, it makes the keys")
        return path.read_text().strip()
