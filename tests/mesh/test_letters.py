"""Dead letters: what an operator sees of a parked event, and what replay and drop do with it."""

import asyncio
import json

import pytest
from nats.aio.client import Client

from svc.mesh import desk, letters, rebuild
from svc.mesh.clock import new_id
from svc.mesh.connection import HEADERS_MAX
from svc.mesh.errors import Conflict, NotFound
from svc.mesh.letters import Letter
from svc.mesh.wire import encode
from svc.platform import dead, operate
from svc.platform.errors import PlatformError
from tests.mesh.pair import ECHO, HAPPENED, Ask, Happened, Pair
from tests.mesh.test_events import say
from tests.support.waiting import until


async def parked(pair: Pair, client: Client, mood: str = "refused") -> Letter:
    """Have an event parked and return its letter, with the body."""
    number = await say(pair, mood)

    async def found() -> Letter | None:
        for letter in (await letters.listed(client, "casino"))[0]:
            whole = await letters.read(client, letter.id)
            if f'"number":{number},' in whole.body:
                return whole
        return None

    return await until(found)


def number_of(letter: Letter) -> int:
    return json.loads(letter.body)["data"]["number"]


async def heal(pair: Pair, letter: Letter) -> None:
    """Mend the consumer as a new version of it would: it works on such an event now."""
    handlers = pair.asking.service.event_handlers

    async def healed(event: object, tx: object, _: object) -> None:
        del event
        await tx.execute(  # pyright: ignore[reportAttributeAccessIssue] -- a Tx
            "INSERT INTO effect (number) VALUES ($1)", number_of(letter)
        )

    handlers[HAPPENED.type] = healed


async def test_a_letter_tells_cause_attempts_and_where_it_came_from(
    pair: Pair, client: Client
) -> None:
    letter = await parked(pair, client)

    assert letter.id == f"casino.wallet.{letter.sequence}"
    assert (letter.consumer, letter.stream, letter.subject) == (
        "casino",
        "WALLET",
        HAPPENED.subject,
    )
    assert letter.cause == "Conflict: this event asks for what a rule forbids"
    assert letter.attempts == 1
    original = await client.jetstream().get_msg("WALLET", letter.sequence)
    assert original.data is not None
    assert original.data.decode() == letter.body


async def test_a_replayed_event_takes_effect_once_however_often_it_is_asked_for(
    pair: Pair, client: Client
) -> None:
    letter = await parked(pair, client)
    await heal(pair, letter)
    ask = desk.Which(id=letter.id)
    replay = desk.dead_replay("casino")

    answers = await asyncio.gather(
        *(operate.ask(client, replay, ask) for _ in range(4)), return_exceptions=True
    )

    done = [answer.outcome for answer in answers if isinstance(answer, desk.Settled)]
    refused = [str(answer) for answer in answers if isinstance(answer, BaseException)]
    assert done.count("ok") == 1
    assert set(done) <= {"ok", "duplicate"}
    assert all("replayed already" in text for text in refused)
    assert (await pair.effects()).count(number_of(letter)) == 1
    assert (await letters.read(client, letter.id)).settled == "replayed"
    with pytest.raises(operate.RefusedError, match="replayed already"):
        await operate.ask(client, replay, ask)


async def test_what_fails_again_stays_with_its_new_cause_and_one_attempt_more(
    pair: Pair, client: Client
) -> None:
    letter = await parked(pair, client)

    with pytest.raises(operate.RefusedError, match="a rule forbids") as caught:
        await operate.ask(client, desk.dead_replay("casino"), desk.Which(id=letter.id))

    assert caught.value.problem == "still-failing"
    again = await letters.read(client, letter.id)
    assert (again.attempts, again.settled, again.body) == (2, "", letter.body)
    assert number_of(letter) not in await pair.effects()


async def test_a_dropped_event_leaves_a_note_and_never_comes_back(
    pair: Pair, client: Client
) -> None:
    letter = await parked(pair, client)

    await operate.ask(client, desk.dead_drop("casino"), desk.Which(id=letter.id))

    note = await letters.read(client, letter.id)
    assert (note.settled, note.body, note.cause) == ("dropped", "", letter.cause)
    still_open, _ = await letters.listed(client, "casino")
    assert letter.id not in [other.id for other in still_open]
    every, _ = await letters.listed(client, "casino", settled=True)
    assert letter.id in [other.id for other in every]


async def test_a_note_never_replaces_a_letter_that_was_parked_meanwhile(
    pair: Pair, client: Client
) -> None:
    letter = await parked(pair, client)
    with pytest.raises(operate.RefusedError):
        await operate.ask(client, desk.dead_replay("casino"), desk.Which(id=letter.id))

    stale = letters.settled_headers(letter, "dropped")
    answer = await _publish(pair, letter, stale)

    assert "wrong last sequence" in answer
    assert (await letters.read(client, letter.id)).settled == ""


async def _publish(pair: Pair, letter: Letter, headers: dict[str, str]) -> str:
    try:
        await pair.asking.publish_now(f"dead.{letter.id}", b"", new_id(), headers)
    except Exception as failure:  # noqa: BLE001  # whatever it says is what the test reads
        return str(failure)
    return ""


async def test_the_commands_list_show_replay_and_drop(
    pair: Pair, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    letter = await parked(pair, client)
    other = await parked(pair, client)
    capsys.readouterr()

    async def said(*words: str, code: int = 0) -> str:
        assert await asyncio.to_thread(dead.dead, words, pair.installation) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    listing = await said("list", "casino", "--json")
    ids = [json.loads(line)["id"] for line in listing.splitlines() if line.startswith("{")]
    assert ids.index(letter.id) < ids.index(other.id)
    assert json.loads(await said("show", letter.id))["body"]["data"]["mood"] == "refused"
    assert other.id in await said("list")
    assert "a rule forbids" in await said("replay", letter.id, code=1)
    await heal(pair, letter)
    assert f"{letter.id}: ok\n" in await said("replay", letter.id)
    assert f"{other.id}: dropped\n" in await said("drop", other.id)
    with pytest.raises(PlatformError, match="there is no dead letter"):
        await said("show", "casino.wallet.999999")


async def test_a_letter_that_is_too_large_to_show_is_said_to_be_so(
    pair: Pair, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = await parked(pair, client)
    monkeypatch.setattr(pair.asking.connection, "_max_payload", HEADERS_MAX)

    with pytest.raises(operate.RefusedError, match="more than one message carries"):
        await operate.ask(client, desk.dead_show("casino"), desk.Which(id=letter.id))


async def test_a_service_shows_no_letters_of_another(pair: Pair, client: Client) -> None:
    del pair
    with pytest.raises(operate.RefusedError, match="not a letter of casino"):
        await operate.ask(client, desk.dead_show("casino"), desk.Which(id="gaming.wallet.1"))
    with pytest.raises(NotFound):
        await letters.read(client, "no id at all")


async def test_an_event_that_is_told_again_has_no_effect_outside(pair: Pair) -> None:
    context = rebuild.silent(pair.answering.context())

    async def never() -> None:
        raise AssertionError

    async with context.transaction() as tx:
        event_id = await tx.publish(HAPPENED, Happened(number=-1), subject="x")
        tx.after_commit(never)
    async with pair.answering.context().transaction() as tx:
        kept = await tx.fetchval("SELECT count(*) FROM mesh_outbox WHERE event_id = $1", event_id)
    assert kept == 0
    with pytest.raises(Conflict):
        await context.call(ECHO, Ask(text="x"))


async def test_a_service_that_does_more_than_derive_cannot_be_rebuilt(
    pair: Pair, client: Client
) -> None:
    since = pair.asking.clock.now()

    with pytest.raises(operate.RefusedError, match="effects elsewhere") as caught:
        await operate.ask(client, desk.forget("casino"), desk.Rebuild(since=since, upto={}))

    assert caught.value.problem == "not-rebuilt"
    assert encode(desk.Rebuild(since=since, upto={}))
