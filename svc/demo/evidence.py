"""Which arrows of the diagram were seen, by evidence from the wire and from the outside systems."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from svc.catalogue import contracts
from svc.demo.diagram import Arrow
from svc.demo.wiretap import Seen
from svc.mesh.contract import LANE_OF_TOPIC, Lane


@dataclass
class Evidence:
    """What was observed, as sets to look arrows up in.

    `calls` holds (caller, callee, verb), `events` (publisher, hearer, type), `topics`
    (topic, hearer); `others` holds (kind, source, target) that the broker cannot see and that
    databases and outside systems told.
    """

    calls: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    events: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])
    topics: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    others: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    def add(self, seen: Iterable[Seen]) -> None:
        """Take in what the wiretap saw."""
        for item in seen:
            if item.kind == "call":
                self.calls.add((item.source, item.target, item.label))
            elif item.kind == "event":
                self.events.add((item.source, item.target, item.label))
                self.topics.add((item.topic, item.target))
            elif item.kind == "cache":
                self.others.add(("cache", item.source, "cache"))

    def shows(self, arrow: Arrow) -> bool:
        """Tell whether an arrow was seen."""
        if arrow.kind == "call":
            return any(
                (source, target) == (arrow.source, arrow.target) and arrow.label in {"", verb}
                for source, target, verb in self.calls
            )
        if arrow.kind == "event":
            return any(
                (source, target) == (arrow.source, arrow.target) and arrow.label in {"", kind}
                for source, target, kind in self.events
            )
        if arrow.kind == "topic":
            return (arrow.source, arrow.target) in self.topics
        if arrow.kind == "lane":
            return self._shows_lane(arrow)
        return (arrow.kind, arrow.source, arrow.target) in self.others

    def _shows_lane(self, arrow: Arrow) -> bool:
        """A lane was seen when something of its topic was worked on in it."""
        if arrow.source == Lane.LOW.value:
            return any(hearer == arrow.target for _, hearer in self.topics)
        hearers = {hearer for topic, hearer in self.topics if topic == arrow.target}
        return bool(hearers - {"reporting"}) and LANE_OF_TOPIC[arrow.target].value == arrow.source

    def missing(self, arrows: Iterable[Arrow]) -> list[Arrow]:
        """Return the arrows that were not seen."""
        return [arrow for arrow in arrows if not self.shows(arrow)]


def live_channels() -> dict[str, str]:
    """Return the service behind each live channel."""
    return {live.channel: contract.name for contract in contracts() for live in contract.pushes}
