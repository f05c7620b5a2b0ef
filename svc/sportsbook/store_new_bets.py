"""The SQL of new bets and their legs: one list of columns for every statement that writes them."""

from collections.abc import Mapping, Sequence

from svc.mesh.database import Tx
from svc.sportsbook.store_arrays import array, quoted
from svc.sportsbook.store_bets import BetRow, LegRow

Struck = tuple[BetRow, str, Sequence[LegRow]]
"""A bet as it is written first, with its key and its legs."""

BET_WRITTEN = {
    "bet_id": "uuid",
    "user_id": "uuid",
    "idempotency_key": "text",
    "request_hash": "bytea",
    "kind": "text",
    "system_sizes": "text",
    "each_way": "boolean",
    "lines": "integer",
    "unit_stake": "bigint",
    "stake": "bigint",
    "currency": "text",
    "odds": "numeric",
    "odds_policy": "text",
    "potential_payout": "bigint",
    "free_bet_id": "uuid",
    "lucky": "boolean",
    "counted": "boolean",
    "payout_max": "bigint",
    "rounding": "text",
    "stake_transfer_id": "uuid",
    "rollback_transfer_id": "uuid",
    "placed_at": "timestamptz",
    "recheck_at": "timestamptz",
}
"""What is written of a new bet: columns of unnest, with their types. An array comes as its text."""
LEG_WRITTEN = {
    "bet_id": "uuid",
    "leg_no": "integer",
    "event_id": "text",
    "market_id": "integer",
    "specifiers": "text",
    "outcome_id": "text",
    "part": "text",
    "odds": "numeric",
}
"""The same of a leg."""


def insertion(table: str, written: Mapping[str, str], first: int, source: str = "") -> str:
    """Return the statement that writes rows given as arrays, from the parameter `first` on.

    `source` is what stands before them in FROM: a row of it for which they are written.
    """
    names = ", ".join(written)
    taken = ", ".join(
        "n.system_sizes::integer[]" if name == "system_sizes" else f"n.{name}" for name in written
    )
    given = ", ".join(
        f"${first + place}::text::{kind}[]" for place, kind in enumerate(written.values())
    )
    return (
        f"INSERT INTO {table} ({names}) SELECT {taken}"  # noqa: S608 - constants
        f" FROM {source}unnest({given}) AS n ({names})"
    )


INSERT_BETS, INSERT_LEGS = insertion("bet", BET_WRITTEN, 1), insertion("leg", LEG_WRITTEN, 1)
INSERT_STRUCK = "INSERT INTO struck (bet_ids) VALUES ($1::text::uuid[])"


async def insert(tx: Tx, bets: Sequence[Struck]) -> None:
    """Write pending bets, each with its key and its legs, and which they are."""
    await tx.execute(INSERT_BETS, *written_bets(bets))
    await tx.execute(INSERT_LEGS, *written_legs(bets))
    await tx.execute(INSERT_STRUCK, array([bet.bet_id for bet, _, _ in bets]))


def written_bets(struck: Sequence[Struck]) -> list[str]:
    """Return new bets as the arrays of `BET_WRITTEN`, in Postgres's text form."""
    bets = [bet for bet, _, _ in struck]
    known = {
        "idempotency_key": quoted([key for _, key, _ in struck]),
        "request_hash": quoted(["\\x" + bet.request_hash.hex() for bet in bets]),
        "system_sizes": array([_sizes(bet) for bet in bets]),
    }
    return [known.get(name) or array([getattr(bet, name) for bet in bets]) for name in BET_WRITTEN]


def _sizes(bet: BetRow) -> str | None:
    """Return an array within an array."""
    return None if bet.system_sizes is None else f'"{array(bet.system_sizes)}"'


def written_legs(struck: Sequence[Struck]) -> list[str]:
    """Return the legs of new bets, numbered in their order, as the arrays of `LEG_WRITTEN`."""
    legs = [leg for _, _, legs in struck for leg in legs]
    numbers = [number for _, _, legs in struck for number in range(1, len(legs) + 1)]
    texts = {
        name: quoted([getattr(leg, name) for leg in legs])
        for name in ("event_id", "specifiers", "outcome_id")
    }
    known = {"leg_no": array(numbers), **texts}
    return [known.get(name) or array([getattr(leg, name) for leg in legs]) for name in LEG_WRITTEN]
