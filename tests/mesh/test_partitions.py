"""Calls about the same thing go to the same instance, its owner, and to any while it is gone."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from svc.mesh import coalesce
from svc.mesh.clock import new_id
from svc.mesh.contract import Call
from svc.mesh.errors import DeclarationError, Invalid
from svc.mesh.partitions import count_of, owned, partition_of
from svc.mesh.policy_releases import partition_subject
from svc.mesh.runtime import Runtime
from svc.mesh.settings import Settings
from svc.mesh.wire import encode
from svc.platform import nats_server
from svc.platform.ports import HOST, free_ports
from tests.mesh.pair import (
    DIVIDED,
    PATIENT_MS,
    Answer,
    Ask,
    Memory,
    Pair,
    answering,
    asking,
    settings_of,
)
from tests.support.waiting import until

KEYS = [new_id() for _ in range(60)] + ["a", "Zoë", "0" * 64]
COUNT = 3
TEXTS = [f"player {number}" for number in range(200)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A broker with a mapping of its own by partition; its address."""
    port = free_ports()["NATS_PORT"]
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "{HOST}:{port}"\n'
        f'mappings {{ "calls.*": "owner.{{{{partition({COUNT},1)}}}}.{{{{wildcard(1)}}}}" }}\n'
    )
    server = subprocess.Popen(
        [nats_server.tool("nats-server"), "-c", str(config)], stderr=subprocess.DEVNULL
    )
    try:
        yield f"nats://{HOST}:{port}"
    finally:
        server.terminate()
        server.wait()


async def connected(address: str) -> Client:
    """Connect to a broker that may be starting."""

    async def attempt() -> Client | None:
        try:
            return await nats.connect(address, allow_reconnect=False)
        except (NatsError, OSError):
            return None

    found = await until(attempt)
    assert found is not None
    return found


async def test_callers_divide_as_the_brokers_own_mapping_does(broker: str) -> None:
    client = await connected(broker)
    try:
        subscription = await client.subscribe("owner.>")
        for key in KEYS:
            await client.publish(f"calls.{key}")
        told = [(await subscription.next_msg(timeout=5)).subject for _ in KEYS]
    finally:
        await client.close()

    assert told == [f"owner.{partition_of(key, COUNT)}.{key}" for key in KEYS]
    assert {partition_of(key, COUNT) for key in KEYS} == set(range(COUNT))


class Divided:
    """Two owners, and who asks them."""

    def __init__(self, pair: Pair) -> None:
        """Prepare; `start` starts."""
        told = partial(settings_of, pair.installation, WALLET_PARTITIONS="2")
        self.memories = [Memory(), Memory()]
        self.owners = [
            Runtime(answering(memory), told(WALLET_PARTITION=str(number)))
            for number, memory in enumerate(self.memories)
        ]
        self.asking = Runtime(asking(Memory()), told())

    def served(self) -> list[set[str]]:
        """Return what each of the owners has served."""
        return [set(memory.served) for memory in self.memories]

    async def ask(self, texts: list[str]) -> list[Answer]:
        """Ask all at once."""
        context = self.asking.context()
        calls = [context.call(DIVIDED, Ask(text=text), deadline_ms=PATIENT_MS) for text in texts]
        return list(await asyncio.gather(*calls))


@pytest.fixture
async def divided(pair: Pair) -> AsyncGenerator[Divided]:
    """Two owners of a partition each, beside nobody else."""
    await pair.answering.stop()
    found = Divided(pair)
    async with AsyncExitStack() as stack:
        for runtime in (*found.owners, found.asking):
            await runtime.start()
            stack.push_async_callback(runtime.stop)
        yield found


async def test_each_call_goes_to_the_owner_of_its_partition(divided: Divided) -> None:
    answers = await divided.ask(TEXTS)

    assert [answer.text for answer in answers] == TEXTS
    assert divided.served() == [
        {text for text in TEXTS if partition_of(text, 2) == number} for number in (0, 1)
    ]
    assert all(divided.served())
    assert [owner.metadata["partitions"] for owner in divided.owners] == ["0", "1"]


async def test_who_asks_with_a_body_as_it_came_is_divided_too(divided: Divided) -> None:
    context, caller = divided.asking.context(), divided.asking.caller
    text = next(text for text in TEXTS if partition_of(text, 2) == 1)

    await caller.call_raw(DIVIDED, f'{{"text": "{text}"}}'.encode(), 15, context)
    for unreadable in (b'{"text": 7}', b"{}", b"[]"):
        with pytest.raises(Invalid):
            await caller.call_raw(DIVIDED, unreadable, 15, context)

    assert divided.served() == [set(), {text}]


async def test_calls_of_an_owner_that_is_gone_go_to_any_instance(divided: Divided) -> None:
    await divided.owners[1].stop()

    answers = await divided.ask(TEXTS)

    assert [answer.text for answer in answers] == TEXTS
    assert divided.served() == [set(TEXTS), set()]


async def test_a_partition_has_one_message_on_its_way(
    divided: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coalesce, "PATIENCE_S", 60.0)
    caller = divided.asking.caller
    owner = partition_of("held", 2)
    own = [text for text in TEXTS if partition_of(text, 2) == owner][:10]
    other = next(text for text in TEXTS if partition_of(text, 2) != owner)
    before = caller.counter

    held = asyncio.create_task(divided.ask(["held"]))
    await divided.ask([other])
    others = asyncio.create_task(divided.ask(own))
    await divided.ask([other])
    while_held = caller.counter - before
    divided.memories[owner].hold.set()
    await asyncio.gather(held, others)

    assert while_held == 3, "the held one, and two of the other partition"
    assert caller.counter - before == 4


async def test_an_instance_that_is_told_nothing_takes_all_partitions(pair: Pair) -> None:
    memory = Memory()
    settings = settings_of(pair.installation, WALLET_PARTITIONS="4")
    everything = Runtime(answering(memory), settings)
    await pair.answering.stop()
    await everything.start()
    try:
        # Who asks knows of no partitions, or of others: it is answered all the same.
        await asyncio.gather(
            *(pair.asking.context().call(DIVIDED, Ask(text=text)) for text in TEXTS[:20])
        )
        # And each partition itself, where a call would else go to any instance.
        body, deadline = encode(Ask(text=TEXTS[0])), time.time() + 15
        answers = [
            await pair.asking.caller.ask(subject, body, deadline, None)
            for subject in (partition_subject(DIVIDED.subject, number) for number in range(4))
        ]
    finally:
        await everything.stop()

    assert set(memory.served) == set(TEXTS[:20])
    assert [json.loads(answer.data)["text"] for answer in answers] == TEXTS[:1] * 4
    assert everything.metadata["partitions"] == "0 1 2 3"


def test_partitions_are_what_the_settings_say() -> None:
    assert (count_of({}, "wallet"), owned({}, "wallet")) == (1, [])
    assert owned({"WALLET_PARTITIONS": "3"}, "wallet") == [0, 1, 2]
    assert owned({"WALLET_PARTITIONS": "3", "WALLET_PARTITION": "2"}, "wallet") == [2]
    assert owned({"WALLET_PARTITIONS": "3", "WALLET_RELEASE": "blue"}, "wallet") == []
    assert partition_subject("rpc.wallet.v1.hold", 2) == ("release.wallet.v1.partition-2.hold")


@pytest.mark.parametrize(
    "given",
    [
        {"WALLET_PARTITIONS": "0"},
        {"WALLET_PARTITIONS": "65"},
        {"WALLET_PARTITIONS": "two"},
        {"WALLET_PARTITIONS": "²"},
        {"WALLET_PARTITIONS": "2", "WALLET_PARTITION": "2"},
        {"WALLET_PARTITIONS": "2", "WALLET_PARTITION": "-1"},
        {"WALLET_PARTITION": "1"},
        {"WALLET_PARTITIONS": "2", "WALLET_PARTITION": "0", "WALLET_RELEASE": "blue"},
        {"WALLET_RELEASE": "partition-0"},
    ],
)
def test_partitions_that_cannot_be_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(DeclarationError, match="WALLET_"):
        owned(given, "wallet")


def test_who_calls_a_service_hears_at_its_start_of_partitions_that_cannot_be() -> None:
    with pytest.raises(DeclarationError, match="WALLET_PARTITIONS='many'"):
        Runtime(asking(Memory()), Settings({"WALLET_PARTITIONS": "many"}))


def test_only_what_travels_together_is_divided_and_by_a_field_that_it_has() -> None:
    for batchable, field in ((False, "text"), (True, "player")):
        with pytest.raises(DeclarationError, match=f"divided by {field}"):
            Call("rpc.wallet.v1.x", Ask, Answer, batchable=batchable, partition_by=field)
