"""The SQL of new bets and their legs: one list of columns for every statement that writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from svc.mesh.database import Tx
from svc.sportsbook.store_bets import BetRow, LegRow, columns

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
    given = ", ".join(f"${first + place}::{kind}[]" for place, kind in enumerate(written.values()))
    return (
        f"INSERT INTO {table} ({names}) SELECT {taken}"  # noqa: S608 - constants
        f" FROM {source}unnest({given}) AS n ({names})"
    )


INSERT_BETS, INSERT_LEGS = insertion("bet", BET_WRITTEN, 1), insertion("leg", LEG_WRITTEN, 1)


async def insert(tx: Tx, bets: Sequence[Struck]) -> None:
    """Write pending bets, each with its key and its legs, in two statements."""
    await tx.execute(INSERT_BETS, *written_bets(bets))
    await tx.execute(INSERT_LEGS, *written_legs(bets))


def written_bets(bets: Sequence[Struck]) -> list[list[Any]]:
    """Return new bets as the arrays of `BET_WRITTEN`."""
    return columns([_written(bet, key) for bet, key, _ in bets], len(BET_WRITTEN))


def _written(bet: BetRow, key: str) -> tuple[object, ...]:
    sizes = bet.system_sizes
    return (
        bet.bet_id,
        bet.user_id,
        key,
        bet.request_hash,
        bet.kind,
        None if sizes is None else "{" + ",".join(str(size) for size in sizes) + "}",
        bet.each_way,
        bet.lines,
        bet.unit_stake,
        bet.stake,
        bet.currency,
        bet.odds,
        bet.odds_policy,
        bet.potential_payout,
        bet.free_bet_id,
        bet.lucky,
        bet.counted,
        bet.payout_max,
        bet.rounding,
        bet.stake_transfer_id,
        bet.rollback_transfer_id,
        bet.placed_at,
        bet.recheck_at,
    )


def written_legs(bets: Sequence[Struck]) -> list[list[Any]]:
    """Return the legs of new bets, numbered in their order, as the arrays of `LEG_WRITTEN`."""
    rows = [
        (leg.bet_id, number, *leg.key, leg.part, leg.odds)
        for _, _, legs in bets
        for number, leg in enumerate(legs, start=1)
    ]
    return columns(rows, len(LEG_WRITTEN))
