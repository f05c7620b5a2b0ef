"""The one entry: `python -m svc run wallet`, `up`, `migrate`, ...; `just` calls it for all."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

HANDED_ON = ("demo", "psql", "nats", "logs", "top", "dead", "replay", "policy")
Command = Callable[[argparse.Namespace], int | None]


def _run(arguments: argparse.Namespace) -> int | None:
    # nats-py takes aiohttp for a transport that we do not use, if the test tools brought it along:
    # 0.2 s and 7 MB in each of twelve processes.
    sys.modules["aiohttp"] = None  # pyright: ignore[reportArgumentType]  # "not installed"
    from svc import catalogue
    from svc.mesh import process

    names: list[str] = [*catalogue.NAMES] if "all" in arguments.names else arguments.names
    unknown = sorted(set(names) - set(catalogue.NAMES))
    if unknown:
        print(f"no such service: {', '.join(unknown)}; there are: {', '.join(catalogue.NAMES)}")
        return 2
    return process.main(names, catalogue.service)


def _outside(arguments: argparse.Namespace) -> int | None:
    from svc.outside.__main__ import main

    return main(arguments.names)


def _generate(arguments: argparse.Namespace) -> int | None:
    from svc import generate

    return generate.main(check=arguments.check)


def _servers(arguments: argparse.Namespace) -> int | None:
    from svc.platform import installation, servers, tools, up

    if arguments.action == "run":
        return up.run_servers()
    ours = servers.Servers(installation.prepare_default())
    if arguments.action == "stop":
        tools.refuse_while_up()
        print("stopped: " + (", ".join(ours.stop()) or "nothing; none was running"))
        return 0
    started = ours.start()
    print("started: " + (", ".join(started) or "nothing; all were running"))
    return 0


def _migrate(_: argparse.Namespace) -> int | None:
    from svc.platform import installation, servers, up

    prepared = installation.prepare_default()
    # Servers that this had to start go down again with it; those of `just up` stay.
    with servers.running(prepared):
        up.deploy(prepared)
    return 0


def _up(arguments: argparse.Namespace) -> int | None:
    from svc.platform import up

    return up.up(arguments.names, use_overmind=not arguments.honcho)


def _env(_: argparse.Namespace) -> int | None:
    from svc.platform import installation

    print(installation.exports(installation.prepare_default().values))
    return 0


def _demo(arguments: argparse.Namespace) -> int | None:
    from svc import demo

    return demo.main(arguments.rest)


def _doctor(_: argparse.Namespace) -> int | None:
    from svc.platform import doctor

    return doctor.doctor()


def _reset(arguments: argparse.Namespace) -> int | None:
    from svc.platform import tools

    return tools.reset(yes=arguments.yes)


def _tool(arguments: argparse.Namespace) -> int | None:
    from svc.platform import tools

    return getattr(tools, arguments.command)(arguments.rest)


def _dead(arguments: argparse.Namespace) -> int | None:
    from svc.platform import dead

    return dead.dead(arguments.rest)


def _roll(arguments: argparse.Namespace) -> int | None:
    from svc.platform import roll

    return roll.roll(arguments.names)


def _top(arguments: argparse.Namespace) -> int | None:
    from svc.platform import top

    return top.top(arguments.rest)


def _certs(_: argparse.Namespace) -> int | None:
    from svc.platform import certificates

    return certificates.certs()


def _replay(arguments: argparse.Namespace) -> int | None:
    from svc.platform import replay

    return replay.replay(arguments.rest)


def _policy(arguments: argparse.Namespace) -> int | None:
    from svc.platform import policy

    return policy.policy(arguments.rest)


def _new_service(arguments: argparse.Namespace) -> int | None:
    from svc.platform import scaffold

    return scaffold.new_service(arguments.name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m svc", description="betmesh")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, does: Command, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(does=does)
        return command

    add("run", _run, "run services in one process").add_argument("names", nargs="+")
    add("outside", _outside, "run outside programs in one process").add_argument("names", nargs="+")
    add("generate", _generate, "write what follows from the declarations").add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 when something is stale"
    )
    add("servers", _servers, "start, stop or run NATS, Postgres and Valkey").add_argument(
        "action", choices=("start", "stop", "run")
    )
    add("migrate", _migrate, "bring databases and streams up to date")
    up = add("up", _up, "run everything until Ctrl-C")
    up.add_argument("names", nargs="*", help="only these lines of the Procfile")
    up.add_argument("--honcho", action="store_true", help="honcho even where overmind is on PATH")
    add("env", _env, "print addresses and secrets as shell exports")
    roll = add("roll", _roll, "begin services anew one by one, while they are in use")
    roll.add_argument("names", nargs="*", help="only these services")
    add("certs", _certs, "make certificates for development, and print their settings")
    add("doctor", _doctor, "say what runs and what is missing")
    reset = add("reset", _reset, "forget all data, keys and secrets")
    reset.add_argument("--yes", action="store_true", help="without asking")
    add("new-service", _new_service, "scaffold a service").add_argument("name")
    for name, does, text in (
        ("demo", _demo, "drive the four flows"),
        ("psql", _tool, "open psql [SERVICE]"),
        ("nats", _tool, "run the nats CLI as the operator"),
        ("logs", _tool, "show logs: [-f] [NAME...]"),
        ("top", _top, "show endpoints and consumers live: [--once] [--all]"),
        ("dead", _dead, "list, show, replay or drop events that were parked"),
        ("policy", _policy, "set, show or clear canaries, mirrors, faults and limits"),
        ("replay", _replay, "tell a service its events again: SERVICE --since INSTANT"),
    ):
        add(name, does, text)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; exit code 1 with a sentence where something outside is in the way."""
    words = list(sys.argv[1:] if words is None else words)
    # Everything behind these is for the program that they call, options too.
    handed_on = words[1:] if words and words[0] in HANDED_ON else []
    arguments = _parser().parse_args(words[: len(words) - len(handed_on)])
    arguments.rest = handed_on
    from svc.platform.errors import PlatformError

    try:
        return arguments.does(arguments) or 0
    except PlatformError as error:
        print(f"betmesh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `just env | head`: whoever read us has enough; nothing more is written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
