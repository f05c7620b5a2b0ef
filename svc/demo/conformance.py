"""Compares the diagram with the declarations, the broker's permissions and what was observed.

The three answers stand side by side for every arrow, so a line that is missing anywhere is named.
"""

from svc.demo.diagram import Arrow
from svc.demo.evidence import Evidence, live_channels
from svc.generate.topology import Permissions, Topology


def declared(topology: Topology) -> Evidence:
    """Return every arrow that the declarations name, in the form in which arrows are observed."""
    found = Evidence()
    for service in topology.services:
        found.calls |= {(service.name, call.service, call.verb) for call in service.calls}
        for hear in service.hears_events:
            found.topics.add((hear.event.topic, service.name))
            found.events |= {
                (publisher, service.name, hear.event.type)
                for publisher in topology.publishers(hear.event)
            }
        found.others |= {("provider", service.name, system) for system in service.outside}
        found.others |= {("webhook", door.sender, "gateway") for door in service.contract.doors}
        found.others |= {
            ("live", live_channels()[live.channel], "User") for live in service.contract.pushes
        }
        if service.contract.answers and any(call.route for call in service.contract.answers):
            found.others.add(("client", "User", "gateway"))
        if service.database:
            found.others.add(("database", service.name, "database"))
        if service.cache:
            found.others.add(("cache", service.name, "cache"))
        if service.localizes:
            found.others.add(("http", service.name, "localization"))
    return found


def permitted(topology: Topology, users: dict[str, Permissions]) -> Evidence:
    """Return every arrow on the broker that the users' permissions let pass."""
    found = Evidence()
    for service in topology.services:
        own = users[service.name]
        for other in topology.services:
            found.calls |= {
                (service.name, other.name, call.verb)
                for call in other.contract.answers
                if call.subject in own.publish
                and f"{call.subject} {other.name}" in users[other.name].subscribe
                and f"_INBOX.{service.name}.>" in users[other.name].publish
            }
        for event in topology.events():
            hears = f"$JS.API.CONSUMER.MSG.NEXT.{event.stream}.{service.name}" in own.publish
            if not hears or event.subject not in topology.heard_subjects(service).get(
                event.stream, ()
            ):
                continue
            found.topics.add((event.topic, service.name))
            found.events |= {
                (publisher, service.name, event.type)
                for publisher, permissions in users.items()
                if event.subject in permissions.publish
            }
        if f"$KV.{service.name}.>" in own.publish:
            found.others.add(("cache", service.name, "cache"))
        found.others |= {
            ("live", service.name, "User") for subject in own.publish if subject.startswith("live.")
        }
    return found


BROKER_KINDS = frozenset({"call", "event", "topic", "lane", "cache", "live"})
"""The kinds of arrows that pass the broker; databases and plain HTTP have walls of their own."""


def undeclared(observed: Evidence, topology: Topology) -> list[str]:
    """Return what was observed between services and is not declared, as sentences."""
    words = declared(topology)
    names = set(topology.by_name)
    extra = [
        f"{caller} called {callee}.{verb}"
        for caller, callee, verb in sorted(observed.calls - words.calls)
        if caller in names
    ]
    extra += [
        f"{hearer} heard {kind} of {publisher}"
        for publisher, hearer, kind in sorted(observed.events - words.events)
        if hearer in names
    ]
    return extra


def differences(arrows: list[Arrow], topology: Topology) -> list[str]:
    """Return every arrow of the diagram that is not declared or not permitted, as sentences."""
    words = declared(topology)
    users = {service.name: topology.permissions(service) for service in topology.services}
    doors = permitted(topology, users)
    found = [f"not declared: {arrow}" for arrow in words.missing(arrows)]
    passing = [arrow for arrow in arrows if arrow.kind in BROKER_KINDS]
    found += [f"not permitted: {arrow}" for arrow in doors.missing(passing)]
    return found
