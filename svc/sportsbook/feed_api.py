"""The feed's API over HTTP: recoveries and documents, as a port with typed answers."""

from typing import Literal
from weakref import WeakKeyDictionary

import httpx

from svc.mesh.context import Context
from svc.mesh.errors import Refused, Unavailable
from svc.mesh.outgoing import CountedClient
from svc.mesh.runtime import Runtime

TIMEOUT_S = 3.0
NODE_ID = 1
"""All instances of this service are one node of the feed: each takes in what any of them asked."""


class ApiRefused(Refused):
    """The feed's API said no: the same request would be refused again."""

    name = "feed-refused"
    status = 409


class FeedApi:
    """The API. All methods raise Unavailable when it does not answer, ApiRefused on a no."""

    def __init__(self, url: str, token: str) -> None:
        """Prepare the client; nothing is sent yet."""
        self.client = CountedClient(
            "sportsbook",
            "BetRadar",
            base_url=url.rstrip("/") + "/v1",
            headers={"x-access-token": token},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    async def recover(self, producer: str, request_id: int, after_ms: int | None) -> None:
        """Ask a producer to send again what it sent since `after_ms`, or all that is on offer."""
        told = {"request_id": request_id, "node_id": NODE_ID}
        if after_ms is not None:
            told["after"] = after_ms
        await self._ask("POST", f"/{producer}/recovery/initiate_request", told)

    async def recover_event(
        self, producer: str, what: Literal["odds", "stateful"], event_id: str, request_id: int
    ) -> None:
        """Ask a producer to send an event's current odds, or all that settled and cancelled."""
        kind = "odds" if what == "odds" else "stateful_messages"
        told = {"request_id": request_id, "node_id": NODE_ID}
        await self._ask("POST", f"/{producer}/{kind}/events/{event_id}/initiate_request", told)

    async def fixture(self, event_id: str, language: str = "en") -> bytes:
        """Return an event's fixture as the API's document."""
        return await self._ask("GET", f"/sports/{language}/sport_events/{event_id}/fixture.xml")

    async def descriptions(self, what: str, language: str) -> bytes:
        """Return the descriptions of `markets` or `variants` in a language."""
        return await self._ask("GET", f"/descriptions/{language}/{what}.xml")

    async def profile(self, person_id: str, language: str) -> bytes:
        """Return the profile of a player or a team, by an id such as `sr:player:5`."""
        kind = "players" if person_id.startswith("sr:player:") else "competitors"
        return await self._ask("GET", f"/sports/{language}/{kind}/{person_id}/profile.xml")

    async def close(self) -> None:
        """Hang up."""
        await self.client.aclose()

    async def _ask(self, method: str, path: str, told: dict[str, int] | None = None) -> bytes:
        try:
            answer = await self.client.request(method, path, params=told)
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            raise Unavailable(f"the feed's API cannot be reached: {failure!r}") from failure
        if answer.is_success:
            return answer.content
        if answer.is_client_error:
            raise ApiRefused(f"the feed's API answered {answer.status_code}: {answer.text[:200]}")
        raise Unavailable(f"the feed's API answered {answer.status_code}")


_OF: WeakKeyDictionary[Runtime, FeedApi] = WeakKeyDictionary()


def of(context: Context) -> FeedApi:
    """Return the client of this service instance, with the address and token of its settings."""
    found = _OF.get(context.runtime)
    if found is None:
        url, token = context.setting("BETRADAR_URL"), context.setting("BETRADAR_TOKEN")
        found = _OF[context.runtime] = FeedApi(url, token)
    return found


async def close_for(context: Context) -> None:
    """Hang up when the service stops."""
    if found := _OF.pop(context.runtime, None):
        await found.close()
