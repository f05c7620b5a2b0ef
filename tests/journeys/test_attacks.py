"""Attacks that need the whole platform: other people's things, and roles that one does not have."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from svc.demo.client import until
from svc.demo.flows import World
from svc.mesh.clock import new_id
from tests.journeys.load import Load, open_match
from tests.journeys.test_every_route import FORMS, named, problem
from tests.journeys.world import Platform, deposited, new_player, operator

PRIVATE = [
    form for form in FORMS if form.route.role == "player" and form.route.path_fields()
]  # fmt: skip
ADMINS_ONLY = [form for form in FORMS if form.route.role == "admin"]
RIGHT: dict[str, Any] = {
    "/v1/casino/sessions/{session_id}/rounds": {
        "stake": 100, "currency": "EUR", "choice": {"target": 50, "over": True},
    },
    "/v1/bets/{bet_id}/cash-out/quote": {},
    "/v1/bets/{bet_id}/cash-out": {"quote_id": new_id()},
}  # fmt: skip
"""Bodies that these routes take, so that it is the id alone that is refused."""


@dataclass
class Owned:
    """Things of one player by the name that paths have for their ids, and a stranger's client."""

    ids: dict[str, str]
    owner: str
    stranger: str
    http: httpx.AsyncClient

    async def ask(self, form: Any, token: str, ids: dict[str, str]) -> httpx.Response:
        """Send a request that would be right for the owner of these ids."""
        path = re.sub(r"{(\w+)}", lambda found: ids[found[1]], form.route.path)
        headers = {"authorization": f"Bearer {token}"}
        if form.route.idempotent:
            headers["idempotency-key"] = new_id()
        body = RIGHT[form.route.path] if form.has_body else None
        return await self.http.request(form.route.method, path, json=body, headers=headers)


async def things_of(world: World) -> dict[str, str]:
    """Let a player have one of everything that has an id."""
    await deposited(world)
    load = Load(world, await open_match(world, "sr:match:831"))
    await load.open_session()
    await load.run(1)
    withdrawal = await world.player.ask(
        "POST", "/v1/withdrawals", {"amount": 500, "currency": "EUR", "method": "bank_ok"},
        key=new_id(),
    )  # fmt: skip
    sessions = await world.player.ask("GET", "/v1/sessions")
    return {
        "bet_id": load.bets[0]["bet_id"],
        "deposit_id": load.deposits[0]["deposit_id"],
        "withdrawal_id": withdrawal["withdrawal_id"],
        "casino_session_id": load.session_id,
        "session_id": sessions["items"][0]["session_id"],
    }


@pytest.fixture(scope="module")
async def owned(whole: Platform) -> AsyncGenerator[Owned]:
    """A player with everything, and another player."""
    async with whole.world() as world, whole.world() as other:
        await new_player(world)
        await new_player(other)
        ids = await things_of(world)
        yield Owned(ids, world.player.token, other.player.token, other.player.http)


@pytest.mark.parametrize("form", PRIVATE, ids=named)
async def test_things_of_somebody_else_are_not_found_like_things_that_are_not_there(
    owned: Owned, form: Any
) -> None:
    ids = dict(owned.ids)
    if form.route.path.startswith("/v1/casino/"):
        ids["session_id"] = ids["casino_session_id"]
    # A path with an id that is not listed here fails, so every new one must come here too.
    foreign = await owned.ask(form, owned.stranger, ids)
    missing = await owned.ask(form, owned.stranger, dict.fromkeys(ids, new_id()))
    assert problem(foreign) == problem(missing) == (404, "not-found")
    if form.route.method == "GET":
        assert (await owned.ask(form, owned.owner, ids)).is_success


async def test_an_operator_is_no_admin_and_a_role_ends_with_its_sessions(whole: Platform) -> None:
    async with whole.world() as world:
        await new_player(world)
        await operator(world)
        roles = f"/v1/admin/users/{world.user_id}/roles"

        async def log_in() -> None:
            account = world.account
            await world.player.log_in(account["email"], account["password"])

        async def status(method: str, path: str, body: object = None) -> int:
            answer = await world.player.http.request(
                method, path, json=body, headers={"Authorization": f"Bearer {world.player.token}"}
            )
            return answer.status_code

        async def logged_out() -> bool:
            return await status("GET", "/v1/users/me") == 401

        assert await status("PUT", roles, {"roles": ["admin", "player"]}) == 403
        await world.operator.ask("PUT", roles, {"roles": ["operator", "player"]})
        await until("the player's token refused", logged_out, within_s=1)
        await log_in()
        assert await status("GET", f"/v1/admin/users/{world.user_id}") == 200
        for form in ADMINS_ONLY:
            path = re.sub(r"{\w+}", world.user_id, form.route.path)
            assert await status(form.route.method, path, {}) == 403, path
        await world.operator.ask("PUT", roles, {"roles": ["player"]})
        await until("the operator's token refused", logged_out, within_s=1)
        await log_in()
        assert await status("GET", f"/v1/admin/users/{world.user_id}") == 403
