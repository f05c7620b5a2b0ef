"""A player's statement as a file, over HTTP."""

import csv
import io

import httpx
import pytest

from svc.mesh.clock import new_id
from svc.wallet import contract as wallet
from tests.gateway.conftest import Player
from tests.support.mesh import Operator, Services

PATH = "/v1/wallet/statement"


@pytest.fixture
async def saver(services: Services, operator: Operator, player: Player) -> Player:
    """A player with three deposits."""
    await services("wallet")
    for amount in (1, 2, 3):
        deposit = wallet.Transfer(
            transfer_id=new_id(), user_id=player.user_id, amount=amount, currency="EUR",
            kind="deposit", reference='x,"y"',
        )  # fmt: skip
        await operator.call(wallet.CREDIT_BALANCE, deposit)
    return player


async def test_a_statement_is_csv_with_a_link_to_the_next_page(
    door: httpx.AsyncClient, saver: Player
) -> None:
    first = await door.get(f"{PATH}?limit=2&locale=en", headers=saver.headers)
    assert first.status_code == 200, first.text
    assert first.headers["content-type"] == "text/csv; charset=utf-8"
    assert first.headers["x-content-type-options"] == "nosniff"
    following = first.links["next"]["url"]
    assert following.startswith(f"{PATH}?limit=2&locale=en&cursor=")
    second = await door.get(following, headers=saver.headers)
    assert "link" not in second.headers
    lines = list(csv.DictReader(io.StringIO(first.text + second.text, newline=""), strict=True))
    assert [(one["amount"], one["reference"]) for one in lines] == [
        (str(amount), 'x,"y"') for amount in (1, 2, 3)
    ]


async def test_a_statement_is_refused_as_a_problem(door: httpx.AsyncClient, saver: Player) -> None:
    for query, status in (
        ("?since=yesterday", 400), ("?since=0001-01-01T00:00:00%2B14:00", 400),
        ("?until=9999-12-31T23:59:59-12:00", 400), ("?limit=0", 400), ("?limit=1001", 400),
        ("?cursor=x", 400), ("?user_id=" + new_id(), 400),
    ):  # fmt: skip
        answer = await door.get(PATH + query, headers=saver.headers)
        assert (answer.status_code, answer.headers["content-type"]) == (
            status, "application/problem+json",
        ), query  # fmt: skip
    assert (await door.get(PATH)).status_code == 401


async def test_a_balance_of_the_past_is_told_over_http(
    door: httpx.AsyncClient, saver: Player
) -> None:
    answer = await door.get("/v1/wallet?at=2001-02-03T00:00:00Z", headers=saver.headers)
    assert (answer.status_code, answer.json()["cash"]) == (200, 0)
    for bad in ("2001-02-03T00:00:00", "0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00"):
        answer = await door.get(f"/v1/wallet?at={bad}", headers=saver.headers)
        assert (answer.status_code, answer.json()["type"]) == (
            400, "urn:betmesh:problem:validation",
        ), bad  # fmt: skip
    assert (await door.get("/v1/wallet", headers=saver.headers)).json()["cash"] == 6
