"""Writes `svc/gateway/topology.json`: who may call or tell whom what, for the gateway to show.

The gateway imports contracts only; what each service hears and calls stands in its `service.py`.
"""

import json

from svc.generate.topology import Topology

PATH = "svc/gateway/topology.json"
LOCALIZATION = "localization"


def declared_files(topology: Topology) -> dict[str, str]:
    """Return the file's text by its path in the checkout; one edge a line."""
    lines = [
        f"  {json.dumps(dict(zip(('kind', 'source', 'target', 'name'), edge, strict=True)))}"
        for edge in edges(topology)
    ]
    return {PATH: "[\n" + ",\n".join(lines) + "\n]\n"}


def edges(topology: Topology) -> list[tuple[str, str, str, str]]:
    """Return every declared edge as (kind, source, target, name), sorted.

    Kinds are `call` (named by its verb), `event` (by its type) and `http` (by its target).
    """
    found = {
        ("call", service.name, call.service, call.verb)
        for service in topology.services
        for call in service.calls
    }
    found |= {
        ("event", publisher, hearer, event.type)
        for event in topology.events()
        for publisher in topology.publishers(event)
        for hearer in topology.hearers(event)
    }
    found |= {
        ("http", service.name, LOCALIZATION, LOCALIZATION)
        for service in topology.services
        if service.localizes
    }
    found |= {
        ("http", service.name, system, system)
        for service in topology.services
        for system in service.outside
    }
    return sorted(found)
