"""The feed sends what it is told, plays a match to its end, keeps alive and replays."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from defusedxml.ElementTree import fromstring
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from svc.outside import betradar, feed
from svc.outside.server import running
from tests.support.waiting import until

EVENT = "sr:match:7100001"
STOP = {"message": "bet_stop", "event_id": EVENT}
ODDS = {
    "message": "odds_change",
    "event_id": EVENT,
    "status": {"status": 1, "match_status": 6, "home_score": 0, "away_score": 0},
    "markets": [
        {"id": 1, "status": 1, "outcomes": [{"id": "1", "odds": "2.10", "active": 1}]},
        {"id": 18, "specifiers": "total=2.5", "status": 0},
    ],
}
SETTLED = {
    "message": "bet_settlement",
    "event_id": EVENT,
    "markets": [{"id": 1, "outcomes": [{"id": "1", "result": 1}]}],
}


class Platform:
    """A little HTTP server in the platform's place; answers what it is told, then 202."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[ET.Element] = []
        self.tokens: list[str] = []
        self.answers: list[int] = []
        self.news = asyncio.Condition()

    def application(self) -> Litestar:
        @post("/feeds/betradar")
        async def receive(request: Request[object, object, State]) -> Response[bytes]:
            body = await request.body()
            message = fromstring(body) if body != b"<" else ET.Element("broken")
            told = self.answers if message.tag != "alive" else []
            status = told.pop(0) if told else 202
            async with self.news:
                self.got.append(message)
                self.tokens.append(request.headers["x-access-token"])
                self.news.notify_all()
            return Response(b"taken", status_code=status)

        return Litestar([receive], openapi_config=None, logging_config=None)

    def of(self, tag: str) -> list[ET.Element]:
        return [each for each in self.got if each.tag == tag]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(condition)


@pytest.fixture(scope="module")
async def served() -> AsyncGenerator[Platform]:
    platform = Platform()
    async with running(platform.application()) as url:
        platform.url = f"{url}/feeds/betradar"
        yield platform


@pytest.fixture
def platform(served: Platform) -> Platform:
    for kept in (served.got, served.tokens, served.answers):
        kept.clear()
    return served


@pytest.fixture
async def client(platform: Platform) -> AsyncGenerator[httpx.AsyncClient]:
    told = feed.Settings(url=platform.url, token="t", alive_s=0.05)
    async with (
        running(betradar.application(told)) as url,
        httpx.AsyncClient(base_url=url, headers={"x-access-token": "t"}, timeout=20) as client,
    ):
        yield client


async def send(client: httpx.AsyncClient, **message: object) -> dict[str, Any]:
    answer = await client.post("/simulate/send", json=message)
    assert answer.status_code == 200
    return answer.json()


async def game(client: httpx.AsyncClient, state: str) -> dict[str, Any]:
    """Wait until the match is in a state, and return how far it is."""

    async def so() -> dict[str, Any] | None:
        seen = (await client.get(f"/simulate/match/{EVENT}")).json()
        return seen if seen["state"] == state else None

    return await until(so, f"the match is {state}", within_s=20)


async def test_a_named_message_is_sent_with_the_token_and_its_answer_is_told(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    sent = await send(client, **STOP)
    assert (sent["status"], sent["answer"], sent["attempts"]) == (202, "taken", 1)
    assert platform.of("bet_stop")[0].get("event_id") == EVENT
    assert set(platform.tokens) == {"t"}
    listed = (await client.get("/simulate/sent?kind=bet_stop")).json()["items"]
    assert listed == [sent]


async def test_raw_text_goes_out_as_it_is(client: httpx.AsyncClient, platform: Platform) -> None:
    platform.answers = [400]
    sent = await send(client, message="raw", xml="<")
    assert (sent["status"], sent["attempts"], sent["xml"]) == (400, 1, "<")
    assert platform.of("broken")


async def test_a_message_is_sent_again_after_a_503_and_not_after_a_refusal(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    await client.post("/simulate/faults", json={"silent": [1, 3]})
    platform.answers = [503, 503]
    assert ((await send(client, **STOP))["attempts"], len(platform.of("bet_stop"))) == (3, 3)
    platform.answers = [400]
    assert (await send(client, **STOP))["status"] == 400
    assert len(platform.of("bet_stop")) == 4


async def test_faults_double_forge_or_lose_a_message(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    faults = {"silent": [1, 3], "duplicate": 1, "bad_token": True}
    await client.post("/simulate/faults", json=faults)
    await send(client, **STOP)
    assert len(platform.of("bet_stop")) == 2
    assert platform.tokens[-1] != "t"
    await client.post("/simulate/faults", json={"drop": 1})
    assert ((await send(client, **STOP))["attempts"], len(platform.of("bet_stop"))) == (0, 2)


async def test_all_producers_keep_alive_until_one_falls_silent(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    def products(subscribed: str) -> set[str | None]:
        alives = platform.of("alive")
        return {each.get("product") for each in alives if each.get("subscribed") == subscribed}

    await platform.until(lambda: products("1") == {"1", "3", "14"})
    await client.post("/simulate/faults", json={"unsubscribed": [3], "silent": [1]})
    await platform.until(lambda: products("0") == {"3"})


async def test_a_match_pauses_where_told_and_is_played_to_its_end(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    plan = {
        "event_id": EVENT,
        "speed": 1_000_000,
        "home": "Ajax",
        "goals": [{"minute": 10, "team": "home"}],
        "pause_before": ["kick_off", "settlement"],
    }
    assert (await client.post("/simulate/match", json=plan)).status_code == 202
    await game(client, "paused")
    assert [each.tag for each in platform.got if each.tag != "alive"] == [
        "fixtures_fixture",
        "odds_change",
    ]
    assert next(platform.of("fixtures_fixture")[0].iter("competitor")).get("name") == "Ajax"
    assert (await client.post("/simulate/match", json=plan)).status_code == 409
    await client.post(f"/simulate/match/{EVENT}/continue")
    await platform.until(lambda: len(platform.of("bet_stop")) == 2)
    paused = await game(client, "paused")
    assert (paused["phase"], paused["score"]) == ("settlement", [1, 0])
    assert not platform.of("bet_settlement")
    await client.post(f"/simulate/match/{EVENT}/continue")
    assert (await game(client, "finished"))["score"] == [1, 0]
    assert [each.get("certainty") for each in platform.of("bet_settlement")] == ["1", "2"]
    stamps = [int(each.get("timestamp", "0")) for each in platform.got if each.get("event_id")]
    assert stamps == sorted(set(stamps))
    fixture = await client.get(f"/v1/sports/en/sport_events/{EVENT}/fixture.xml")
    assert fromstring(fixture.content).tag == "fixtures_fixture"


async def test_recovery_replays_the_present_state_and_says_when_it_is_complete(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    await send(client, **ODDS)
    await send(client, **STOP)
    settled = await send(client, **SETTLED)
    platform.got.clear()
    answer = await client.post("/v1/liveodds/recovery/initiate_request?request_id=77&after=" + str(
        settled["at"] - 1000))  # fmt: skip
    assert answer.status_code == 202
    assert fromstring(answer.content).get("response_code") == "ACCEPTED"
    await platform.until(lambda: bool(platform.of("snapshot_complete")))
    replay = [each for each in platform.got if each.tag != "alive"]
    assert [each.tag for each in replay] == ["odds_change", "bet_settlement", "snapshot_complete"]
    assert {each.get("request_id") for each in replay} == {"77"}
    states = {each.get("id"): each.get("status") for each in replay[0].iter("market")}
    assert states == {"1": "-3", "18": "0"}
    before = fromstring(settled["xml"])
    assert replay[1].get("timestamp") == before.get("timestamp")


async def test_recovery_of_one_event_and_of_the_other_producer(
    client: httpx.AsyncClient, platform: Platform
) -> None:
    await send(client, **ODDS)
    await send(client, **SETTLED)
    platform.got.clear()
    for path in ("odds", "stateful_messages"):
        await client.post(f"/v1/liveodds/{path}/events/{EVENT}/initiate_request?request_id=1")
    await client.post("/v1/pre/recovery/initiate_request?request_id=2")
    await platform.until(lambda: len(platform.of("snapshot_complete")) == 3)
    replay = {each.tag: each.get("request_id") for each in platform.got if each.get("event_id")}
    assert replay == {"odds_change": "1", "bet_settlement": "1"}


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("/v1/liveodds/recovery/initiate_request", "other", 403, "FORBIDDEN"),
        ("/v1/nothing/recovery/initiate_request", "t", 404, "NOT_FOUND"),
        ("/v1/pre/recovery/initiate_request?after=1", "t", 400, "BAD_REQUEST"),
        ("/v1/pre/recovery/initiate_request?after=x", "t", 400, "BAD_REQUEST"),
    ],
)
async def test_a_bad_api_call_is_refused_in_the_apis_form(
    client: httpx.AsyncClient, path: str, token: str, status: int, code: str
) -> None:
    answer = await client.post(path, headers={"x-access-token": token})
    assert answer.status_code == status
    assert fromstring(answer.content).get("response_code") == code


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b'{"message": "bet_stop"}', b'{"message": "none"}',
             b'{"message": "bet_stop", "event_id": "sr:match:1", "grups": "all"}'],
)  # fmt: skip
async def test_a_bad_control_call_is_refused_and_sends_nothing(
    client: httpx.AsyncClient, platform: Platform, body: bytes
) -> None:
    answer = await client.post("/simulate/send", content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert {each.tag for each in platform.got} <= {"alive"}


async def test_the_producers_are_described(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/descriptions/producers.xml")
    found = [each.get("id") for each in fromstring(answer.content)]
    assert found == ["1", "3", "14"]
