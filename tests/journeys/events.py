"""What the streams hold about one player, read after the fact."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import msgspec

from svc.mesh.contract import LANE_OF_TOPIC
from svc.mesh.envelope import CloudEvent
from svc.mesh.parcels import bodies
from svc.platform import streams
from svc.platform.installation import Installation


@dataclass
class Told:
    """All events of the platform about one player."""

    events: list[CloudEvent[dict[str, Any]]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of the events of a type."""
        return [event.data for event in self.events if event.type == kind]

    def counts(self) -> Counter[str]:
        """Return how many events of each type there are."""
        return Counter(event.type for event in self.events)

    def money_given(self) -> int:
        """Return bonuses and prizes, which come without being asked for; minor units."""
        bonuses = [b for b in self.of("BonusAwardedEvent") if b["kind"] in {"cash", "bonus"}]
        prizes = self.of("PrizeAwardedEvent")
        return sum(given["amount"] for given in (*bonuses, *prizes))


async def told_of(installation: Installation, user_id: str) -> Told:
    """Read every topic's stream and return what it says about a player."""
    decode = msgspec.json.Decoder(CloudEvent[dict[str, Any]]).decode
    found: list[CloudEvent[dict[str, Any]]] = []
    connection = await streams.connect(installation, "operator")
    try:
        jetstream = connection.jetstream()
        for topic in LANE_OF_TOPIC:
            last = (await jetstream.stream_info(topic.upper())).state.last_seq
            if not last:
                continue
            subscription = await jetstream.subscribe(f"{topic}.events.>", ordered_consumer=True)
            while True:
                message = await subscription.next_msg(timeout=5)
                events = [decode(body) for body in bodies(message.data)]
                found += [event for event in events if event.data.get("user_id") == user_id]
                if message.metadata.sequence.stream >= last:
                    break
            await subscription.unsubscribe()
    finally:
        await connection.close()
    return Told(found)


async def dead_letters(installation: Installation) -> list[dict[str, str]]:
    """Return the headers of everything that was parked."""
    connection = await streams.connect(installation, "operator")
    try:
        jetstream = connection.jetstream()
        state = (await jetstream.stream_info("DEAD")).state
        sequences = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        return [(await jetstream.get_msg("DEAD", number)).headers or {} for number in sequences]
    finally:
        await connection.close()
