"""What the broker sends arrives as it was sent, in whatever pieces the network brings it."""

import pytest
from nats.errors import ProtocolError

from svc.mesh.connection import Connection
from svc.mesh.incoming import Message

STREAM = (
    b"MSG rpc.wallet.v1.balance 1 _INBOX.gateway.7 11\r\nhello\r\nMSG \r\n"
    b"PONG\r\n"
    b"MSG rpc.wallet.v1.balance 1 0\r\n\r\n"
    b"HMSG rpc.wallet.v1.balance 1 _INBOX.gateway.8 27 33\r\n"
    b"NATS/1.0\r\nMesh-Batch: 2\r\n\r\n  body\r\n"
    b"+OK\r\n"
    b"HMSG _INBOX.gateway.9 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
)


async def heard(pieces: list[bytes]) -> list[tuple[str, str, bytes, dict[str, str] | None]]:
    """Return what a sink got of these pieces."""
    connection = Connection()
    got: list[Message] = []
    connection.sinks[b"1"] = got.append
    for piece in pieces:
        await connection._ps.parse(piece)  # pyright: ignore[reportPrivateUsage] -- as nats-py does
    assert connection.stats["in_msgs"] == len(got)
    return [(one.subject, one.reply, one.data, one.headers) for one in got]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 128, len(STREAM)])
async def test_messages_are_whole_however_the_bytes_come(size: int) -> None:
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert await heard(pieces) == [
        ("rpc.wallet.v1.balance", "_INBOX.gateway.7", b"hello\r\nMSG ", None),
        ("rpc.wallet.v1.balance", "", b"", None),
        ("rpc.wallet.v1.balance", "_INBOX.gateway.8", b"  body", {"Mesh-Batch": "2"}),
        ("_INBOX.gateway.9", "", b"", {"Status": "503"}),
    ]


@pytest.mark.parametrize("line", [b"MSG a 1 many\r\n", b"MESSAGE a 1 2\r\n", b"\r\n"])
async def test_what_no_broker_sends_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await heard([line])


async def test_a_new_connection_begins_with_no_half_of_a_message() -> None:
    connection = Connection()
    got: list[Message] = []
    connection.sinks[b"1"] = got.append
    parser = connection._ps  # pyright: ignore[reportPrivateUsage] -- as nats-py does
    await parser.parse(b"MSG a 1 5\r\nhal")

    parser.reset()
    await parser.parse(b"MSG b 1 2\r\nok\r\n")

    assert [one.data for one in got] == [b"ok"]
