"""Dead letters: events that a consumer could not work on, each kept under a subject of its own.

`dead.<consumer>.<stream>.<sequence>` holds the event as it came, with cause, attempts and origin in
headers; `<sequence>-<place>` is one of the events that a message held. A letter that is parked
again replaces itself; one that was replayed or dropped leaves a note without the event, which the
stream forgets after a month.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from nats.errors import Error as NatsError

from svc.mesh.clock import new_id
from svc.mesh.errors import NotFound, Unavailable
from svc.mesh.wire import EXPECTED_STREAM

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from svc.mesh.runtime import Runtime

STREAM = "DEAD"
ROOT = "dead"
ID = re.compile(r"[a-z_]+\.[a-z_]+\.[0-9]{1,20}(-[0-9]{1,4})?")
ANSWER_S = 3.0
READ_AT_ONCE = 32
LISTED_MAX = 1_000
NOTE_KEPT = "720h"
ROLLUP = "Nats-Rollup"


class Letter(Struct, frozen=True, kw_only=True):
    """One parked event: why, after how many attempts, and where it came from.

    `id` is `<consumer>.<stream>.<sequence>`, with `-<place>` where its message held many; `settled`
    is empty while somebody has to decide, then `replayed` or `dropped`; `position` is its own
    sequence in the stream of dead letters. The body is empty in lists and after the end. `foreign`:
    no service parked it, see EXPECTED_STREAM.
    """

    id: str
    consumer: str
    stream: str
    sequence: int
    subject: str
    cause: str
    attempts: int
    parked_at: datetime
    position: int
    settled: str = ""
    body: str = ""
    foreign: bool = False


class State(Struct, frozen=True):
    """The subjects that a stream holds, each with how often."""

    subjects: dict[str, int] = {}


class Info(Struct, frozen=True):
    """What a stream tells of itself, as far as we look."""

    state: State = State()


def letter_id(consumer: str, stream: str, sequence: int, place: int = 0) -> str:
    """Return the id of an event that a consumer parks; `place` where its message holds many."""
    return f"{consumer}.{stream.lower()}.{sequence}" + (f"-{place}" if place else "")


def parked_headers(
    consumer: str,
    stream: str,
    sequence: int,
    *,
    subject: str,
    attempts: int,
    failure: BaseException,
) -> dict[str, str]:
    """Return what a parked event carries besides itself."""
    cause = f"{type(failure).__name__}: {failure}"
    return {
        ROLLUP: "sub",
        "Dead-Cause": " ".join(cause.split()).encode("ascii", "replace").decode()[:500],
        "Dead-Attempts": str(attempts),
        "Dead-Consumer": consumer,
        "Dead-Stream": stream,
        "Dead-Sequence": str(sequence),
        "Dead-Subject": subject,
    }


async def park(
    runtime: Runtime,
    consumer: str,
    stream: str,
    sequence: int,
    body: bytes,
    *,
    place: int = 0,
    subject: str,
    attempts: int,
    failure: BaseException,
) -> None:
    """Leave a dead letter: it is kept when this returns. Raises what `publish_now` does."""
    headers = parked_headers(
        consumer, stream, sequence, subject=subject, attempts=attempts, failure=failure
    )
    name = letter_id(consumer, stream, sequence, place)
    await runtime.publish_now(f"{ROOT}.{name}", body, new_id(), headers)


def settled_headers(letter: Letter, how: str) -> dict[str, str]:
    """Return the note that replaces a letter; refused by the stream when it was parked anew."""
    return {
        ROLLUP: "sub",
        "Nats-TTL": NOTE_KEPT,
        "Nats-Expected-Last-Subject-Sequence": str(letter.position),
        "Dead-Settled": how,
        "Dead-Cause": letter.cause,
        "Dead-Attempts": str(letter.attempts),
        "Dead-Consumer": letter.consumer,
        "Dead-Stream": letter.stream,
        "Dead-Sequence": str(letter.sequence),
        "Dead-Subject": letter.subject,
    }


async def read(connection: Client, name: str) -> Letter:
    """Return one letter with its body; raises NotFound, and Unavailable when NATS is slow."""
    return (await fetch(connection, name))[0]


async def fetch(connection: Client, name: str) -> tuple[Letter, bytes]:
    """Return one letter, and its body as it came; raises as `read`."""
    if not ID.fullmatch(name):
        raise NotFound(f"no letter is called {name!r}: an id looks like casino.wallet.17")
    subject = f"$JS.API.DIRECT.GET.{STREAM}.{ROOT}.{name}"
    message = await _ask(connection, subject, b"")
    if (message.headers or {}).get("Status"):
        raise NotFound(f"there is no dead letter {name}")
    return _letter(name, message), message.data


async def listed(
    connection: Client, consumer: str = "*", *, settled: bool = False
) -> tuple[list[Letter], int]:
    """Return the oldest open letters of a consumer, without bodies, and how many there are.

    Raises Unavailable when NATS is slow. With `settled`, the notes of the ended ones too.
    """
    wanted = {"subjects_filter": f"{ROOT}.{consumer}.*.*"}
    message = await _ask(connection, f"$JS.API.STREAM.INFO.{STREAM}", msgspec.json.encode(wanted))
    subjects = msgspec.json.decode(message.data, type=Info).state.subjects
    names = [subject.removeprefix(f"{ROOT}.") for subject in subjects]
    limit = asyncio.Semaphore(READ_AT_ONCE)

    async def one(name: str) -> Letter | None:
        async with limit:
            try:
                return await read(connection, name)
            except NotFound:
                return None  # it went while we looked

    found = [letter for letter in await asyncio.gather(*map(one, names)) if letter is not None]
    chosen = sorted(
        (letter for letter in found if settled or not letter.settled),
        key=lambda letter: letter.position,
    )
    brief = [msgspec.structs.replace(letter, body="") for letter in chosen[:LISTED_MAX]]
    return brief, len(chosen)


async def _ask(connection: Client, subject: str, body: bytes) -> Msg:
    try:
        return await connection.request(subject, body, timeout=ANSWER_S)
    except (NatsError, TimeoutError) as failure:
        raise Unavailable(f"the dead letters cannot be read now: {failure}") from failure


def _letter(name: str, message: Msg) -> Letter:
    headers = message.headers or {}
    consumer, stream, sequence = name.split(".")
    return Letter(
        id=name,
        consumer=consumer,
        stream=headers.get("Dead-Stream", stream.upper()),
        sequence=int(sequence.partition("-")[0]),
        subject=headers.get("Dead-Subject", ""),
        cause=headers.get("Dead-Cause", ""),
        attempts=int(headers.get("Dead-Attempts", "0")),
        parked_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        position=int(headers["Nats-Sequence"]),
        settled=headers.get("Dead-Settled", ""),
        foreign=headers.get(EXPECTED_STREAM) != STREAM,
        body=message.data.decode(errors="replace"),
    )
