"""The short way in and out of NATS, and many events with one acknowledgement."""

import asyncio

import pytest
from nats.errors import ConnectionClosedError, MaxPayloadError
from prometheus_client import generate_latest

from svc.mesh.clock import new_id
from svc.mesh.connection import Message
from svc.mesh.errors import Unavailable
from svc.mesh.ingest import BATCH_MAX
from svc.mesh.parcels import Parcel
from svc.mesh.wire import encode
from svc.platform import streams
from tests.mesh.pair import HAPPENED, MANY, NUMBERS, Ask, Happened, Pair


async def test_a_sink_that_fails_is_reported_and_the_next_message_arrives(pair: Pair) -> None:
    connection = pair.asking.connection
    arrived: asyncio.Queue[Message] = asyncio.Queue()

    def sink(message: Message) -> None:
        if message.data == b"bad":
            raise ValueError("this one is bad")
        arrived.put_nowait(message)

    inbox = f"_INBOX.{pair.asking.service.name}.test"
    await connection.listen(inbox, sink)
    await connection.flush()  # the broker knows of it before the other connection sends
    for body in (b"bad", b"good"):
        pair.answering.connection.send(inbox, body, "", {"A-Header": "kept"})

    async with asyncio.timeout(5):
        message = await arrived.get()
    assert (message.subject, message.data, message.headers) == (
        inbox,
        b"good",
        {"A-Header": "kept"},
    )


async def test_what_is_too_large_or_comes_after_the_end_is_refused_at_once(pair: Pair) -> None:
    connection = pair.asking.connection

    with pytest.raises(MaxPayloadError):
        connection.send("anything", b"x" * (connection.max_payload + 1))
    with pytest.raises(MaxPayloadError):  # the broker counts the headers, and ends connections
        connection.send("anything", b"x" * connection.max_payload, "", {"A-Header": "counts"})
    await pair.asking.stop()
    with pytest.raises(ConnectionClosedError):
        connection.send("anything", b"x")


async def test_who_cannot_leave_keeps_nobody_else_from_leaving(pair: Pair) -> None:
    connection, loop = pair.asking.connection, asyncio.get_running_loop()
    told: list[object] = []
    left = asyncio.Event()

    def stumble() -> None:
        raise ValueError("this one cannot leave")

    loop.set_exception_handler(lambda _, told_of: told.append(told_of["exception"]))
    connection.before_leaving(stumble)
    connection.before_leaving(left.set)

    async with asyncio.timeout(5):
        await left.wait()
    assert [type(one) for one in told] == [ValueError]


async def test_calls_are_counted_by_outcome_and_time(pair: Pair) -> None:
    def counted() -> float:
        lines = generate_latest().decode().splitlines()
        edge = f'callee="{MANY.service}",caller="casino",outcome="ok",verb="{MANY.verb}"'
        counts = [line for line in lines if line.startswith("mesh_calls_total")]
        [mine] = [line for line in counts if all(part in line for part in edge.split(","))]
        return float(mine.rsplit(" ", 1)[1])

    await pair.asking.context().call(MANY, Ask(text="one"))
    before = counted()
    await asyncio.gather(
        *(pair.asking.context().call(MANY, Ask(text=str(number))) for number in range(50))
    )

    assert counted() == before + 50


async def test_events_that_are_sent_again_are_stored_once(pair: Pair) -> None:
    context, ingest = pair.answering.context(), pair.answering.ingest
    envelopes = [
        context.envelope(HAPPENED, Happened(number=next(NUMBERS)), subject="x")
        for _ in range(BATCH_MAX)
    ]
    events = [Parcel(HAPPENED.subject, encode(one), one.id) for one in envelopes]
    operator = await streams.connect(pair.installation, "operator")
    try:
        stream = operator.jetstream()
        before = (await stream.stream_info("WALLET")).state.messages

        await ingest.publish(events[:100])
        await ingest.publish(events)
        await ingest.publish(events[:1])

        assert (await stream.stream_info("WALLET")).state.messages == before + BATCH_MAX
    finally:
        await operator.close()


async def test_events_that_no_stream_takes_are_unavailable_at_once(pair: Pair) -> None:
    nobody = f"_INBOX.{pair.asking.service.name}.nobody"

    with pytest.raises(Unavailable, match="no stream takes it"):
        await pair.answering.ingest.publish([Parcel(nobody, b"{}", new_id())] * 8)
