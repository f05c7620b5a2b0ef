"""HTTP at the door: each refusal is a problem document, and nothing wrong gets further."""

import httpx

from tests.gateway.conftest import Player


def problem_of(answer: httpx.Response) -> str:
    """Return the name of an answered problem, whose form is checked on the way."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return document["type"].removeprefix("urn:betmesh:problem:")


async def test_a_player_reads_their_own_profile(door: httpx.AsyncClient, player: Player) -> None:
    answer = await door.get("/v1/users/me", headers=player.headers)
    assert answer.status_code == 200
    assert answer.json()["user_id"] == player.user_id
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
