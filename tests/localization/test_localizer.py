"""The client that every service uses, against the real routes over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from svc.localization.usage import usage
from svc.mesh import localizer as client
from svc.mesh.errors import Unavailable
from svc.mesh.localizer import FETCHES_MAX, KEPT_MAX, KEPT_S, PAUSE_S, Localizer, Money, shown
from tests.localization.conftest import Server
from tests.support.waiting import until


class Seconds:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def localizer(server: Server, seconds: Seconds) -> AsyncIterator[Localizer]:
    async def discover(service: str) -> str | None:
        return server.url if service == "localization" else None

    client = Localizer("casino", discover, seconds)
    yield client
    await client.close()


async def test_plural_forms_follow_the_language(localizer: Localizer) -> None:
    async def told(locale: str, count: int) -> str:
        return await localizer.text(locale, "localization", "missing.count", count=count)

    assert await told("en", 1) == "1 bundle is missing."
    assert await told("en", 1200) == "1,200 bundles are missing."
    assert await told("de-AT", 1) == "1 Paket fehlt."
    assert await told("de", 1200) == "1.200 Pakete fehlen."
    assert await told("pt-BR", 0) == "0 pacote está faltando."


async def test_a_text_that_nobody_knows_is_its_key(localizer: Localizer) -> None:
    assert await localizer.text("en", "localization", "no.such.key") == "no.such.key"
    assert await localizer.text("en", "nonsense", "title") == "title"
    assert await localizer.text("not a locale", "localization", "language") == "language"


async def test_a_bundle_is_asked_for_once_and_revalidated_when_it_is_old(
    localizer: Localizer, seconds: Seconds
) -> None:
    before = usage.requests["casino/localization"]
    await asyncio.gather(*(localizer.text("de", "localization", "language") for _ in range(20)))
    assert usage.requests["casino/localization"] == before + 1
    seconds.now += KEPT_S - 1
    await localizer.text("de", "localization", "language")
    assert usage.requests["casino/localization"] == before + 1
    seconds.now += 2
    assert await localizer.text("de", "localization", "language") == "Deutsch"
    assert usage.requests["casino/localization"] == before + 2


async def test_with_localization_down_an_older_bundle_serves_and_then_the_key(
    localizer: Localizer, server: Server, seconds: Seconds
) -> None:
    assert await localizer.text("de", "localization", "language") == "Deutsch"
    await server.stop()
    seconds.now += KEPT_S + 1
    assert await localizer.text("de", "localization", "language") == "Deutsch"
    assert await localizer.text("pt-BR", "localization", "language") == "language"
    with pytest.raises(Unavailable):
        await localizer.bundle("pt-BR", "localization")
    await server.start()
    seconds.now += PAUSE_S
    assert await localizer.text("pt-BR", "localization", "language") == "Português (Brasil)"


def tags(count: int) -> list[str]:
    """Well-formed tags that localization has no texts in, each another one."""
    regions = (chr(first) + chr(second) for first in range(65, 91) for second in range(65, 91))
    return [f"xx-{next(regions)}" for _ in range(count)]


async def test_whatever_languages_clients_ask_for_few_are_kept_and_those_in_use_stay(
    localizer: Localizer,
) -> None:
    for number, tag in enumerate(tags(KEPT_MAX + 60)):
        assert await localizer.text(tag, "localization", "language") == "English"
        if number % 50 == 0:
            assert await localizer.text("de", "localization", "language") == "Deutsch"
    assert len(localizer.kept) == KEPT_MAX
    assert not localizer.locks
    asked = usage.requests["casino/localization"]
    await localizer.text("de", "localization", "language")
    assert usage.requests["casino/localization"] == asked
    assert localizer.holds("de", "localization")
    assert not localizer.holds("xx-AA", "localization")


async def test_many_languages_at_once_share_few_requests_and_each_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As long as it may take: how long the server below keeps them is this test's to say.
    monkeypatch.setattr(client, "TIMEOUT_S", 60.0)
    wanted = tags(3 * FETCHES_MAX)
    let_go = asyncio.Event()
    here = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal here, most
        head = await reader.readuntil(b"\r\n\r\n")
        here += 1
        most = max(most, here)
        await let_go.wait()
        here -= 1
        locale = head.split(b" ")[1].split(b"/")[3]
        body = b'{"locale": "%b", "namespace": "a", "version": "1"}' % locale
        last = b"Connection: close\r\nContent-Length: %d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (last, body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def discover(_: str) -> str | None:
            return url

        asking = Localizer("casino", discover)
        async with asyncio.TaskGroup() as group:
            read = [group.create_task(asking.bundle(tag, "a")) for tag in [*wanted, *wanted]]

            async def all_are_under_way() -> bool:
                return here == FETCHES_MAX

            await until(all_are_under_way)
            assert len(asking.locks) == len(wanted)
            let_go.set()
        assert [task.result().locale for task in read] == [*wanted, *wanted]
        assert most == FETCHES_MAX
        assert not asking.locks
        await asking.close()


async def test_warming_never_fails_and_goes_on_until_localization_is_there(
    localizer: Localizer, server: Server, seconds: Seconds
) -> None:
    await server.stop()
    await localizer.warm(["localization"])
    assert localizer.kept == {}
    await server.start()
    seconds.now += PAUSE_S
    assert localizer.warming is not None
    await asyncio.wait_for(localizer.warming, 10)
    assert ("en", "localization") in localizer.kept


@pytest.mark.parametrize(
    ("value", "locale", "expected"),
    [
        (Money(123456, "EUR"), "de", "1.234,56\xa0€"),
        (Money(123456, "EUR"), "en", "€1,234.56"),
        (Money(123456, "BRL"), "pt-BR", "R$\xa01.234,56"),
        (Money(1234, "JPY"), "en", "¥1,234"),
        (Money(1234, "BHD"), "en", "BHD1.234"),
        (Money(-5, "EUR"), "en", "-€0.05"),
        (Money(9_007_199_254_740_991, "EUR"), "en", "€90,071,992,547,409.91"),
        (datetime(2026, 11, 22, 13, 5, tzinfo=UTC), "de", "22.11.2026, 13:05:00"),
        (date(2026, 11, 22), "pt-BR", "22 de nov. de 2026"),
        (Decimal("1.85"), "de", "1,85"),
        (12345, "de", "12.345"),
        ("as it is", "de", "as it is"),
        (Money(100, "EUR"), "xx", "€1.00"),
    ],
)
def test_arguments_are_written_as_the_locale_writes_them(
    value: object, locale: str, expected: str
) -> None:
    assert shown(value, locale) == expected
