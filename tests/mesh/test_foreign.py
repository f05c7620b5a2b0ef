"""What a service has the server send where it may not send itself: neither asks nor tells anybody.

The broker looks at what is published, not at the reply subject, and JetStream sends what it stores
to wherever a request for it names. Here casino, which may write to a stream of its own, tries.
"""

import asyncio

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from svc.mesh import desk, letters
from svc.mesh.consumer import NOT_PUBLISHED
from svc.mesh.wire import encode
from svc.platform import operate, streams
from tests.mesh.pair import ECHO, HAPPENED, NUMBERS, SECRET, Ask, Happened, Pair
from tests.support.waiting import WITHIN_S, until


async def have_sent(pair: Pair, body: bytes, subject: str) -> None:
    """Store a message where casino may, and have the server send it to a subject."""
    heard = asyncio.Event()
    observer = await streams.connect(pair.installation, "observer")

    async def hear(message: Msg) -> None:
        if message.data == body:
            heard.set()

    await observer.subscribe(subject, cb=hear)
    await observer.flush()
    try:
        await pair.asking.jetstream.publish("side.forged", body)
        get = "$JS.API.DIRECT.GET.SIDE.side.forged"
        await pair.asking.connection.publish(get, b"", reply=subject)
        async with asyncio.timeout(WITHIN_S):
            await heard.wait()
    finally:
        await observer.close()


def forged(pair: Pair) -> tuple[int, bytes]:
    """Return an event as wallet would tell it, and its number."""
    data = Happened(number=next(NUMBERS))
    envelope = pair.answering.context().envelope(HAPPENED, data, subject=str(data.number))
    return data.number, encode(envelope)


async def test_a_call_that_the_server_was_had_to_send_is_not_served(pair: Pair) -> None:
    await have_sent(pair, encode(Ask(text="forged")), SECRET.subject)

    answer = await pair.asking.context().call(ECHO, Ask(text="after it"))

    assert answer.text == "after it"
    assert pair.memory.served == ["after it"]


async def test_an_event_that_the_server_was_had_to_store_has_no_effect(
    pair: Pair, client: Client
) -> None:
    number, body = forged(pair)
    await have_sent(pair, body, HAPPENED.subject)

    async def parked() -> letters.Letter | None:
        for letter in (await letters.listed(client, "casino"))[0]:
            found, kept = await letters.fetch(client, letter.id)
            if kept == body and NOT_PUBLISHED in found.cause:
                return found
        return None

    assert (await until(parked, "a dead letter")).attempts == 1
    assert number not in await pair.effects()


async def test_a_dead_letter_that_the_server_was_had_to_store_is_not_replayed(
    pair: Pair, client: Client
) -> None:
    number, body = forged(pair)
    which = desk.Which(id=f"casino.wallet.{10**9 + number}")
    await have_sent(pair, body, f"dead.{which.id}")

    with pytest.raises(operate.RefusedError, match="was not parked by casino"):
        await operate.ask(client, desk.dead_replay("casino"), which)

    assert number not in await pair.effects()
