"""Run outside programs in one process: `python -m svc.outside all`, or any of their names."""

import sys

from svc.outside import betradar, payment_provider, server, sms_provider

PROGRAMS = {
    "payment_provider": payment_provider.program,
    "sms_provider": sms_provider.program,
    "betradar": betradar.program,
}


def main(names: list[str]) -> None:
    """Run the named programs until SIGTERM; without a known name say which there are."""
    wanted = list(PROGRAMS) if names == ["all"] else names
    if not wanted or not set(wanted) <= set(PROGRAMS):
        message = f"usage: python -m svc.outside all | {' | '.join(PROGRAMS)} ..."
        raise SystemExit(message)
    server.run({name: PROGRAMS[name]() for name in wanted})


if __name__ == "__main__":
    main(sys.argv[1:])
