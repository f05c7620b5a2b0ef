"""An odds provider in Betradar's manner: pushes UOF messages, answers the recovery API.

With `BETRADAR_AMQP_PORT` its messages go to readers of an AMQP exchange instead; see amqp.py.
"""

import hmac
from collections.abc import Iterator
from itertools import chain
from xml.etree import ElementTree as ET

import msgspec
from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from svc.outside import descriptions, settings as outside_settings, uof
from svc.outside.amqp import Exchange
from svc.outside.feed import ALIVE_S, PORT, PRODUCTS, Feed, FeedFaults, Settings
from svc.outside.match import Plan
from svc.outside.server import HttpRequest, Rejected, application as build, as_json, run

CODES = {
    400: "BAD_REQUEST",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    429: "TOO_MANY_REQUESTS",
}
AMQP_PORT = "BETRADAR_AMQP_PORT"
MINUTE_MS = 60_000
DAY_MS = 86_400_000
STATEFUL_DAYS = 30

Known = NamedDependency[Feed]


class Raw(Struct, kw_only=True, forbid_unknown_fields=True, tag_field="message", tag="raw"):
    """Text to send as it is, be it good XML or not."""

    xml: str


def _as_xml(tree: ET.Element, status: int = 200) -> Response[bytes]:
    return Response(uof.to_xml(tree), status_code=status, media_type="application/xml")


def _shape(request: HttpRequest, error: Rejected) -> Response[bytes]:
    if request.url.path.startswith("/simulate"):
        return as_json({"error": error.message}, error.status)
    code = CODES.get(error.status, "INTERNAL_SERVER_ERROR")
    return _as_xml(uof.answer(code, error.message), error.status)


def _authorise(provider: Feed, request: HttpRequest) -> None:
    given = request.headers.get("x-access-token", "")
    if not hmac.compare_digest(given.encode(), provider.settings.token.encode()):
        raise Rejected(403, "The access token is missing or wrong.")
    if provider.faults.take("error_5xx"):
        raise Rejected(503, "The API is not available.")


def _product(name: str) -> int:
    for product, (known, _, _) in PRODUCTS.items():
        if name == known:
            return product
    raise Rejected(404, f"There is no product {name}.")


def _recover(
    provider: Feed,
    product: int,
    request_id: int | None,
    messages: Iterator[ET.Element],
    node_id: int | None,
) -> Response[bytes]:
    provider.recover(product, request_id, messages, node_id)
    name = PRODUCTS[product][0]
    return _as_xml(uof.answer("ACCEPTED", f"Request for {name} messages received"), 202)


@post("/v1/{product:str}/recovery/initiate_request")
async def recover(
    request: HttpRequest,
    provider: Known,
    product: FromPath[str],
    after: FromQuery[int | None] = None,
    *,
    request_id: FromQuery[int | None] = None,
    node_id: FromQuery[int | None] = None,
) -> Response[bytes]:
    """Replay a producer: its current odds, and what settled or canceled since `after` (Unix ms)."""
    _authorise(provider, request)
    number = _product(product)
    now_ms, window_minutes = provider.now_ms(), PRODUCTS[number][2]
    oldest_ms = now_ms - window_minutes * MINUTE_MS
    if after is not None and not oldest_ms <= after <= now_ms:
        raise Rejected(400, f"after must lie within the last {window_minutes} minutes.")
    stateful = provider.memory.stateful(number, None, oldest_ms if after is None else after)
    odds = provider.memory.odds(number, None, now_ms)
    return _recover(provider, number, request_id, chain(odds, stateful), node_id)


@post("/v1/{product:str}/odds/events/{event_id:str}/initiate_request")
async def recover_odds(
    request: HttpRequest,
    provider: Known,
    product: FromPath[str],
    event_id: FromPath[str],
    *,
    request_id: FromQuery[int | None] = None,
    node_id: FromQuery[int | None] = None,
) -> Response[bytes]:
    _authorise(provider, request)
    provider.count_event_recovery()
    number = _product(product)
    odds = provider.memory.odds(number, event_id, provider.now_ms())
    return _recover(provider, number, request_id, odds, node_id)


@post("/v1/{product:str}/stateful_messages/events/{event_id:str}/initiate_request")
async def recover_stateful(
    request: HttpRequest,
    provider: Known,
    product: FromPath[str],
    event_id: FromPath[str],
    *,
    request_id: FromQuery[int | None] = None,
    node_id: FromQuery[int | None] = None,
) -> Response[bytes]:
    _authorise(provider, request)
    provider.count_event_recovery()
    number = _product(product)
    oldest_ms = provider.now_ms() - STATEFUL_DAYS * DAY_MS
    messages = provider.memory.stateful(number, event_id, oldest_ms)
    return _recover(provider, number, request_id, messages, node_id)


@get("/v1/sports/{language:str}/sport_events/{event_id:str}/fixture.xml")
async def get_fixture(
    request: HttpRequest, provider: Known, language: FromPath[str], event_id: FromPath[str]
) -> Response[bytes]:
    """Give a fixture again, as a client asks after a fixture_change; names have one language."""
    _authorise(provider, request)
    if event_id not in provider.memory.fixtures:
        raise Rejected(404, f"There is no fixture {event_id} in {language}.")
    return _as_xml(provider.memory.fixtures[event_id])


@get("/v1/descriptions/producers.xml")
async def get_producers(request: HttpRequest, provider: Known) -> Response[bytes]:
    _authorise(provider, request)
    return _as_xml(uof.producers(PRODUCTS))


@get("/v1/descriptions/{language:str}/{name:str}")
async def get_descriptions(
    request: HttpRequest, provider: Known, language: FromPath[str], name: FromPath[str]
) -> Response[bytes]:
    """Give the descriptions of `markets.xml` or `variants.xml` in a language."""
    _authorise(provider, request)
    found = descriptions.document(name.removesuffix(".xml"), language)
    if found is None:
        raise Rejected(404, f"There are no descriptions {name} in {language}.")
    return _as_xml(found)


@get("/v1/sports/{language:str}/{kind:str}/{person:str}/profile.xml")
async def get_profile(
    request: HttpRequest,
    provider: Known,
    language: FromPath[str],
    kind: FromPath[str],
    person: FromPath[str],
) -> Response[bytes]:
    """Give the profile of a player or a competitor, with the name in a language."""
    _authorise(provider, request)
    found = descriptions.profile(kind, person, language)
    if found is None:
        raise Rejected(404, f"There is no profile of {person} in {language}.")
    return _as_xml(found)


@post("/simulate/match")
async def play_match(request: HttpRequest, provider: Known) -> Response[bytes]:
    plan = msgspec.json.decode(await request.body() or b"{}", type=Plan)
    return as_json(provider.play(plan), 202)


@get("/simulate/match/{event_id:str}")
async def get_match(provider: Known, event_id: FromPath[str]) -> Response[bytes]:
    if event_id not in provider.games:
        raise Rejected(404, f"{event_id} has not been played")
    return as_json(provider.games[event_id])


@post("/simulate/match/{event_id:str}/continue")
async def continue_match(provider: Known, event_id: FromPath[str]) -> Response[bytes]:
    return as_json(provider.proceed(event_id), 202)


@post("/simulate/send")
async def send(request: HttpRequest, provider: Known) -> Response[bytes]:
    """Send one message and tell what the platform answered to it."""
    document = msgspec.json.decode(await request.body(), type=uof.Document | Raw)
    if isinstance(document, Raw):
        return as_json(await provider.say_raw(document.xml))
    return as_json(await provider.say(document))


@get("/simulate/sent")
async def list_sent(
    provider: Known, kind: FromQuery[str | None] = None, event_id: FromQuery[str | None] = None
) -> Response[bytes]:
    """List what was sent, oldest first, with the platform's answers."""
    items = [
        each
        for each in provider.sent
        if kind in {None, each.type} and event_id in {None, each.event_id}
    ]
    return as_json({"items": items})


@post("/simulate/faults")
async def set_faults(request: HttpRequest, provider: Known) -> Response[bytes]:
    """Set all switches at once: what the body doesn't name is off, so `{}` heals everything."""
    provider.faults = msgspec.json.decode(await request.body() or b"{}", type=FeedFaults)
    return as_json(provider.faults)


@get("/simulate/exchange")
async def show_exchange(provider: Known) -> Response[bytes]:
    """Tell where readers find the feed's messages, and what they have taken."""
    exchange = _exchange(provider)
    found = {
        "port": exchange.port,
        "readers": exchange.readers(),
        "unacknowledged": exchange.unacknowledged(),
        "acknowledged": exchange.acknowledged,
    }
    return as_json(found)


@post("/simulate/exchange/cut")
async def cut_readers(provider: Known) -> Response[bytes]:
    """Cut every reader's connection, as a failing network does."""
    await _exchange(provider).cut()
    return as_json({}, 202)


def _exchange(provider: Feed) -> Exchange:
    if provider.exchange is None:
        raise Rejected(404, "Messages are posted: BETRADAR_AMQP_PORT gives them an exchange.")
    return provider.exchange


def settings() -> Settings:
    """Read the feed's settings; a missing token or a bad interval ends the program."""
    known = outside_settings.load()
    try:
        alive_s = float(known.get("BETRADAR_ALIVE_S", ALIVE_S))
    except ValueError as error:
        raise SystemExit(f"BETRADAR_ALIVE_S is not a number of seconds: {error}") from error
    return Settings(
        url=outside_settings.gateway_url(known) + "/feeds/betradar",
        token=outside_settings.need(known, "BETRADAR_TOKEN"),
        port=outside_settings.port(known, "BETRADAR_PORT", PORT),
        alive_s=alive_s,
        amqp_port=(outside_settings.port(known, AMQP_PORT, 0) if AMQP_PORT in known else None),
    )


def application(told: Settings) -> Litestar:
    """Build the feed as an ASGI application with an empty memory."""
    feed = Feed(told)
    handlers = [
        recover,
        recover_odds,
        recover_stateful,
        get_fixture,
        get_producers,
        get_descriptions,
        get_profile,
        play_match,
        get_match,
        continue_match,
        send,
        list_sent,
        set_faults,
        show_exchange,
        cut_readers,
    ]
    return build(
        handlers, provider=feed, shape=_shape, on_startup=[feed.start], on_shutdown=[feed.close]
    )


def program() -> tuple[Litestar, int]:
    """Return the application and its port, as the settings tell."""
    told = settings()
    try:
        return application(told), told.port
    except OSError as error:
        raise SystemExit(f"cannot listen for readers of AMQP: {error}") from error


def main() -> None:
    """Run the feed until SIGTERM."""
    run({"betradar": program()})


if __name__ == "__main__":
    main()
