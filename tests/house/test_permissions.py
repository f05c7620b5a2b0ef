"""With a service's own credentials, the broker refuses every subject that it does not declare.

Every service times every subject of the platform, both directions, against a real server that has
the generated permissions and no streams: what is permitted does nothing, what is not is refused.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator

import pytest
from nats.aio.client import Client

from svc import catalogue
from svc.generate.topology import Permissions, Topology
from svc.mesh.contract import LANE_OF_TOPIC
from svc.mesh.policy_releases import release_subject
from svc.platform.installation import ROOT, Installation, prepare
from svc.platform.nats_server import NatsServer
from svc.platform.ports import free_ports
from svc.platform.servers import forget

TOPOLOGY = Topology(catalogue.services())


def matches(pattern: str, subject: str) -> bool:
    """Tell whether a NATS subject lies within a pattern with `*` and `>`."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)


def subjects() -> list[str]:
    """Return every subject that the platform knows, one of each kind."""
    found = {call.subject for service in TOPOLOGY.services for call in service.contract.answers}
    found |= {event.subject for event in TOPOLOGY.events()}
    for service in TOPOLOGY.services:
        name = service.name
        found |= {f"$KV.{name}.key", f"_INBOX.{name}.reply", f"$SRV.PING.{name}"}
        found |= {f"$JS.API.STREAM.INFO.KV_{name}", f"$JS.API.DIRECT.GET.KV_{name}.$KV.{name}.key"}
        found |= {f"live.{live.channel}.key" for live in service.contract.pushes}
        for topic in LANE_OF_TOPIC:
            stream = topic.upper()
            found |= {
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
                f"$JS.ACK.{stream}.{name}.1.1.1.1.0",
                f"dead.{name}.{topic}.1",
                f"$JS.API.DIRECT.GET.DEAD.dead.{name}.{topic}.1",
                f"rpc.mesh.v1.{name}.dead_list",
                f"$JS.API.CONSUMER.CREATE.{stream}.{name}",
            }
    for service in TOPOLOGY.services:
        found |= {release_subject(call.subject, "blue") for call in service.contract.answers[:1]}
    found |= {"$KV.mesh_policy.limit.all.wallet.all", "$JS.API.STREAM.INFO.KV_mesh_policy"}
    found |= {"$JS.API.STREAM.PURGE.WALLET", "$JS.API.STREAM.DELETE.WALLET", "$SRV.PING"}
    return sorted(found | {"anything.else", "_INBOX.operator.reply"})


@pytest.fixture(scope="module")
def broker() -> Generator[Installation]:
    """A NATS server with the generated permissions and nothing in it."""
    run_dir = ROOT / ".run" / f"test-{os.getpid()}-permissions"
    installation = prepare(run_dir, free_ports())
    server = NatsServer(installation)
    try:
        server.launch()
        server.daemon.wait_ready(server.is_ready)
        yield installation
    finally:
        server.ask_to_stop()
        server.daemon.wait_stopped()
        forget(run_dir)


LAST = "the.last.word"
"""A subject that nobody may use: when the broker refuses it, it has judged all before it."""


class Probe:
    """A connection as one service that collects what the broker refuses."""

    def __init__(self) -> None:
        self.connection = Client()
        self.refused: set[str] = set()
        self.judged = asyncio.Event()

    async def connect(self, installation: Installation, user: str) -> None:
        """Connect with the user's own key."""
        await self.connection.connect(
            installation["NATS_URL"],
            nkeys_seed=str(installation.run_dir / "nats" / f"{user}.nk"),
            error_cb=self._refused,
        )

    async def _refused(self, failure: Exception) -> None:
        text = str(failure).lower()
        self.refused.add(text[text.index("violation for ") + len("violation for ") :])
        if LAST in text:
            self.judged.set()

    async def refused_publications(self, subjects: list[str]) -> set[str]:
        """Return the subjects, in lower case, that this service cannot publish."""
        for subject in (*subjects, LAST):
            await self.connection.publish(subject, b"")
        await self.judged.wait()
        return {text.split('"')[1] for text in self.refused} - {LAST}

    async def refused_subscriptions(self, subjects: list[str], queue: str) -> set[str]:
        """Return the subjects, in lower case, that this service cannot subscribe in a queue."""
        for subject in (*subjects, LAST):
            await self.connection.subscribe(subject, queue=queue)
        await self.judged.wait()
        return {text.split('"')[1] for text in self.refused} - {LAST}


@pytest.fixture
async def probe(broker: Installation, name: str) -> AsyncGenerator[Probe]:
    """A connection as the service under test."""
    found = Probe()
    await found.connect(broker, name)
    yield found
    await found.connection.close()


def may_publish(permissions: Permissions, subject: str) -> bool:
    """Tell what the declarations say about publishing a subject."""
    return any(matches(pattern, subject) for pattern in permissions.publish)


def may_subscribe(permissions: Permissions, subject: str, queue: str) -> bool:
    """Tell what the declarations say about subscribing a subject in a queue group or none."""
    for entry in permissions.subscribe:
        pattern, _, group = entry.partition(" ")
        if matches(pattern, subject) and group in {"", queue}:
            return True
    return False


@pytest.mark.parametrize("name", catalogue.NAMES)
async def test_a_service_can_publish_what_it_declares_and_nothing_else(
    probe: Probe, name: str
) -> None:
    permissions = TOPOLOGY.permissions(TOPOLOGY.by_name[name])
    expected = {s.lower() for s in subjects() if not may_publish(permissions, s)}

    assert await probe.refused_publications(subjects()) ^ expected == set()


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in its queue group"])
@pytest.mark.parametrize("name", catalogue.NAMES)
async def test_a_service_can_subscribe_what_it_declares_and_nothing_else(
    probe: Probe, name: str, *, grouped: bool
) -> None:
    permissions = TOPOLOGY.permissions(TOPOLOGY.by_name[name])
    queue = name if grouped else ""
    expected = {s.lower() for s in subjects() if not may_subscribe(permissions, s, queue)}

    assert await probe.refused_subscriptions(subjects(), queue) ^ expected == set()


def test_declared_subjects_are_what_the_permissions_hold() -> None:
    """The declarations themselves, without the code that turns them into permissions."""
    for service in TOPOLOGY.services:
        permissions = TOPOLOGY.permissions(service)
        calls = {subject for subject in permissions.publish if subject.startswith("rpc.")}
        events = {subject for subject in permissions.publish if ".events." in subject}
        answers = {s for s in permissions.subscribe if s.startswith("rpc.")}
        if service.hears_events:
            answers.remove(f"rpc.mesh.v1.{service.name}.* {service.name}")  # for operators
        assert calls == {call.subject for call in service.calls}
        assert events == {event.subject for event in service.may_publish().values()}
        assert answers == {f"{call.subject} {service.name}" for call in service.contract.answers}


def test_nobody_but_the_wallets_callers_can_move_money() -> None:
    movers = {
        service.name
        for service in TOPOLOGY.services
        if "rpc.wallet.v1.deduct_balance" in TOPOLOGY.permissions(service).publish
    }

    assert movers <= {"sportsbook", "payment", "casino", "gateway"}
