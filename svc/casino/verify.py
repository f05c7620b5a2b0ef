"""Recompute a round from the revealed seeds: `python -m svc.casino.verify --help`."""

import argparse
import json
import sys

from svc.casino import rules
from svc.mesh.errors import Refused


def main(arguments: list[str] | None = None) -> int:
    """Print the commitment and the result that the seeds give; 2 when the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m svc.casino.verify",
        description="Recompute a casino round from the seeds of its closed session.",
    )
    parser.add_argument("--game", required=True, choices=sorted(rules.GAMES))
    parser.add_argument("--server-seed", required=True, help="revealed when the session closed")
    parser.add_argument("--client-seed", required=True)
    parser.add_argument("--nonce", required=True, type=int)
    parser.add_argument("--stake", required=True, type=int, help="minor units")
    parser.add_argument("--choice", default="{}", help='JSON: {"target": 50, "over": true}')
    given = parser.parse_args(arguments)
    try:
        choice = json.loads(given.choice)
        seeds = (given.server_seed, given.client_seed)
        result = rules.play(rules.GAMES[given.game], choice, given.stake, seeds, given.nonce)
    except (ValueError, AttributeError) as failure:
        print(f"--choice is not a JSON object: {failure}", file=sys.stderr)
        return 2
    except Refused as failure:
        print(failure.detail, file=sys.stderr)
        return 2
    print(f"server_seed_hash {rules.commitment(given.server_seed)}")
    print(f"outcome          {json.dumps(result.outcome)}")
    print(f"payout           {result.payout}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
