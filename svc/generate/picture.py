"""Draws the platform from its declarations, as the Mermaid picture in the README."""

from svc.generate.topology import Topology

HEARS_ALL = ("notification", "reporting")
OUTSIDE_NAMES = {
    "PaymentProvider": "payment provider",
    "SMSProvider": "SMS and e-mail provider",
    "BetRadar": "BetRadar",
}


def picture(topology: Topology) -> str:
    """Return the Mermaid flowchart: solid arrows are calls, dotted ones events.

    What everybody does is drawn once: everybody's events reach notification and reporting,
    everybody asks the scheduler for jobs, localization for texts and identity about staff.
    """
    lines = ["flowchart LR", "  user([clients]) --> gateway"]
    lines += [f'  {key}(["{name}"])' for key, name in OUTSIDE_NAMES.items()]
    for service in topology.services:
        lines += [f"  {door.sender} --> gateway" for door in service.contract.doors]
        lines += [f"  {service.name} --> {system}" for system in service.outside]
    lines += sorted({f"  {caller} --> {callee}" for caller, callee in _calls(topology)})
    for source, target, topics in _events(topology):
        lines.append(f"  {source} -. {', '.join(topics)} .-> {target}")
    lines.append('  everybody["every service"]')
    lines += [f"  everybody -. all topics .-> {name}" for name in HEARS_ALL]
    lines.append("  everybody -. jobs .-> scheduler")
    lines.append("  everybody -- HTTP --> localization")
    lines.append("  everybody -- authorize --> identity")
    return "\n".join(lines)


def _calls(topology: Topology) -> set[tuple[str, str]]:
    return {
        (service.name, call.service)
        for service in topology.services
        for call in service.calls
        if call.verb != "authorize" and call.service != service.name
    }


def _events(topology: Topology) -> list[tuple[str, str, list[str]]]:
    edges: dict[tuple[str, str], set[str]] = {}
    for event in topology.events():
        if event.topic == "scheduler":
            continue
        for source in topology.publishers(event):
            for target in topology.hearers(event):
                if target not in HEARS_ALL and target != source:
                    edges.setdefault((source, target), set()).add(event.topic)
    return [(*edge, sorted(topics)) for edge, topics in sorted(edges.items())]
