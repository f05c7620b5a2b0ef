"""Who may bet and play: the rules of both products, row by row."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from svc.casino import standing as casino, store
from svc.mesh.context import Context
from svc.mesh.errors import Refused
from svc.sportsbook import standing as sportsbook
from svc.sportsbook.store_players import Player

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
ROWS: list[tuple[bool, str, bool, datetime | None, str]] = [
    # verification asked for, its state, a dispute, excluded until; the refusal
    (False, "none", False, None, ""),
    (False, "pending", False, None, ""),
    (False, "rejected", False, None, "not-verified"),
    (False, "expired", False, None, "not-verified"),
    (True, "none", False, None, "not-verified"),
    (True, "pending", False, None, "not-verified"),
    (True, "verified", False, None, ""),
    (True, "verified", True, None, "account-blocked"),
    (False, "none", True, None, "account-blocked"),
    (False, "verified", False, LATER, "self-excluded"),
    (False, "verified", False, NOW, ""),
    (True, "none", True, LATER, "self-excluded"),
]


@pytest.mark.parametrize(("required", "kyc", "disputed", "until", "refusal"), ROWS)
def test_players_bet_and_play_unless_something_forbids_it(
    required: bool, kyc: str, disputed: bool, until: datetime | None, refusal: str
) -> None:
    settings = {"KYC_REQUIRED": "1"} if required else {}
    runtime = SimpleNamespace(settings=settings)
    context = cast("Context", SimpleNamespace(runtime=runtime, now=lambda: NOW))
    bettor = Player(
        user_id="u", locale="en", excluded_until=until, watched_since=None, kyc_status=kyc,
        disputed=disputed,
    )  # fmt: skip
    try:
        sportsbook.check(bettor, NOW, context)
        found = ""
    except Refused as refused:
        found = refused.name
    assert found == refusal
    gambler = store.Player(excluded_until=until, kyc_status=kyc, disputed=disputed)
    refused = casino.refusal(gambler, context)
    assert (refused.name if refused else "") == refusal
