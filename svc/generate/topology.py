"""What the declarations of all services imply for the broker: who may use which subject.

One place derives it; nats.conf, subjects.md, the picture and the house tests all read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from svc.mesh.contract import Event
from svc.mesh.policy_releases import release_subject
from svc.mesh.policy_rules import BUCKET
from svc.mesh.service import Service

DEAD_STREAM = "DEAD"


@dataclass(frozen=True)
class Permissions:
    """The subjects of one NATS user; everything else is refused by the broker.

    A subscription written `subject queue` is allowed in that queue group only.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


@dataclass
class Topology:
    """All services, and what follows from their declarations."""

    services: list[Service]
    by_name: dict[str, Service] = field(init=False)

    def __post_init__(self) -> None:
        """Index the services."""
        self.by_name = {service.name: service for service in self.services}

    def events(self) -> list[Event[Struct]]:
        """Return all events of all contracts."""
        return [event for service in self.services for event in service.contract.events()]

    def topics(self) -> list[str]:
        """Return the topics in a fixed order."""
        return sorted({event.topic for event in self.events()})

    def publishers(self, event: Event[Struct]) -> list[str]:
        """Return the services that publish an event."""
        return [s.name for s in self.services if event.type in s.may_publish()]

    def hearers(self, event: Event[Struct]) -> list[str]:
        """Return the services that hear an event."""
        return [
            s.name for s in self.services if any(h.event.type == event.type for h in s.hears_events)
        ]

    def callers(self, subject: str) -> list[str]:
        """Return the services that declare that they call a subject."""
        return [s.name for s in self.services if subject in s.may_call()]

    def heard_subjects(self, service: Service) -> dict[str, list[str]]:
        """Return what a service hears, by stream."""
        streams: dict[str, set[str]] = {}
        for hear in service.hears_events:
            streams.setdefault(hear.event.stream, set()).add(hear.event.subject)
        return {stream: sorted(subjects) for stream, subjects in sorted(streams.items())}

    def permissions(self, service: Service) -> Permissions:
        """Return what the broker lets a service do: its declarations, and nothing else."""
        name = service.name
        publish = {call.subject for call in service.calls}
        publish |= {release_subject(call.subject, "*") for call in service.calls} - {""}
        publish |= {event.subject for event in service.may_publish().values()}
        publish |= {f"live.{live.channel}.>" for live in service.contract.pushes}
        publish |= {f"_INBOX.{asker}.>" for asker in self._askers(service)}
        subscribe = {f"{call.subject} {name}" for call in service.contract.answers}
        if service.contract.answers:
            subscribe.add(f"release.{name}.*.*.* {name}")
        subscribe |= {f"_INBOX.{name}.>", *self._discovery_subjects(name)}
        for stream in self.heard_subjects(service):
            publish |= {
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
                f"$JS.API.CONSUMER.INFO.{stream}.{name}",
                f"$JS.ACK.{stream}.{name}.>",
                f"dead.{name}.{stream.lower()}.*",
            }
        if service.hears_events:
            # A service that hears answers operators for its own dead letters (svc/mesh/desk.py).
            publish |= {"$JS.API.STREAM.INFO.DEAD", f"$JS.API.DIRECT.GET.DEAD.dead.{name}.>"}
            subscribe.add(f"rpc.mesh.v1.{name}.* {name}")
        if service.cache:
            publish |= {f"$KV.{name}.>", *self._bucket_reads(name)}
        publish |= self._bucket_reads(BUCKET)
        for contract in service.reads:
            publish |= self._bucket_reads(contract.name)
        if service.localizes:
            publish.add("$SRV.INFO.localization")
        if name == "gateway":
            publish |= {"$SRV.PING", "$SRV.EDGES", "$SRV.INFO.localization"}
            subscribe |= {
                f"live.{live.channel}.>" for s in self.services for live in s.contract.pushes
            }
        publish |= set(service.extras.publishes)
        subscribe |= set(service.extras.subscribes)
        return Permissions(tuple(sorted(publish)), tuple(sorted(subscribe)))

    def _askers(self, service: Service) -> set[str]:
        """Return whose inboxes a service may answer into."""
        askers = {"operator", "observer", "gateway"} - {service.name}
        for call in service.contract.answers:
            askers |= set(self.callers(call.subject))
        if service.contract.http:
            askers |= {s.name for s in self.services if s.localizes}
        return askers

    @staticmethod
    def _discovery_subjects(name: str) -> Iterable[str]:
        return ("$SRV.*", f"$SRV.*.{name}", f"$SRV.*.{name}.*")

    @staticmethod
    def _bucket_reads(bucket: str) -> set[str]:
        """Return what reading and watching a bucket takes."""
        return {
            f"$JS.API.STREAM.INFO.KV_{bucket}",
            f"$JS.API.DIRECT.GET.KV_{bucket}.>",
            f"$JS.API.CONSUMER.CREATE.KV_{bucket}",
            f"$JS.API.CONSUMER.CREATE.KV_{bucket}.>",
            f"$JS.API.CONSUMER.DELETE.KV_{bucket}.>",
            f"$JS.API.CONSUMER.INFO.KV_{bucket}.>",
            f"$JS.FC.KV_{bucket}.>",
        }


STAFF = {
    "operator": Permissions(
        publish=(
            "$JS.ACK.>",
            "$JS.API.>",
            "$JS.FC.>",
            f"$KV.{BUCKET}.>",
            "$SRV.>",
            "release.>",
            "rpc.>",
        ),
        subscribe=("$JS.EVENT.>", "*.events.>", "_INBOX.operator.>", "dead.>", "live.>"),
    ),
    "observer": Permissions(
        publish=(
            "$JS.API.CONSUMER.INFO.>",
            "$JS.API.DIRECT.GET.>",
            "$JS.API.STREAM.INFO.>",
            "$JS.API.STREAM.MSG.GET.>",
            "$SRV.>",
        ),
        subscribe=(">",),  # the one user that may listen to everything, and only listen
    ),
    "deploy": Permissions(publish=("$JS.API.>",), subscribe=("_INBOX.deploy.>",)),
    # Instances that only see copies of calls (svc/mesh/policy_releases.py): they read, and answer
    # nobody but who asks how they fare.
    "shadow": Permissions(
        publish=(
            "$JS.API.DIRECT.GET.>",
            "$JS.API.STREAM.INFO.>",
            "_INBOX.observer.>",
            "_INBOX.operator.>",
        ),
        subscribe=("$SRV.>", "_INBOX.shadow.>", "release.*.*.shadow.*"),
    ),
    # A bridge from the odds feed's own exchange: it only says, and hears that it was stored.
    "betradar": Permissions(publish=("uof.>",), subscribe=("_INBOX.betradar.>",)),
}
"""The users that are no service: operators, the wiretap, deployment, shadows, the bridge."""
