"""The kinds of transfers: whose money is on the other side, and what they may do to a player."""

from typing import Literal

from svc.wallet.contract import STAKES, Kind

House = Literal[
    "bets_in_play", "revenue", "casino", "provider_clearing", "promotions", "prizes", "jackpots",
    "adjustments", "holds",
]  # fmt: skip
HOUSE_OF: dict[Kind, House] = {
    "bet": "bets_in_play",
    "bet_payout": "revenue",
    "bet_refund": "revenue",
    "casino_bet": "casino",
    "casino_payout": "casino",
    "deposit": "provider_clearing",
    "withdrawal": "provider_clearing",
    "refund": "provider_clearing",
    "chargeback": "provider_clearing",
    "bonus": "promotions",
    "bonus_expiry": "promotions",
    "bonus_conversion": "promotions",
    "prize": "prizes",
    "jackpot": "jackpots",
    "adjustment": "adjustments",
}
"""The house account that stands on the other side of a player's money, by kind of transfer."""
NOT_IN_DEBT: frozenset[Kind] = STAKES | frozenset[Kind]({"withdrawal", "refund"})
"""What a player who owes money may not do (Marathonbet's terms 1.14.2): play and take money out.

Nor may the owner of a closed account, whose open bets and holds still come to their end."""
FORCIBLE: frozenset[Kind] = frozenset({
    "chargeback", "refund", "bet_payout", "bet_refund", "casino_payout", "prize", "jackpot",
    "adjustment",
})  # fmt: skip
"""Deductions that may make a player owe: money that has left already, or was paid by mistake."""
