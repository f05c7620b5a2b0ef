"""How concurrent calls of one subject share messages: how many each, how many messages at once."""

import sys
from typing import NamedTuple


class Sharing(NamedTuple):
    """How calls of one subject share messages."""

    in_flight: int
    """Messages on their way at the same time."""
    least: int
    """Calls that travel together even if that leaves messages unused; fewer wait for no company."""
    most: int
    """Calls in one message: far below the broker's largest payload, unless bodies are large."""

    @property
    def impatient(self) -> int:
        """Return how many messages may be on their way when one of them does not come back."""
        return max(self.in_flight, 2)


BATCHES = Sharing(in_flight=2, least=64, most=512)
"""Of a batchable call: while one message is answered, the other is being worked on."""
DIVIDED = Sharing(in_flight=1, least=512, most=512)
"""Of one that is divided, in each partition: the others are being worked on meanwhile."""
COMPANY = Sharing(in_flight=sys.maxsize, least=32, most=32)
"""Of any other: none waits for another's answer."""
PEAK_KEPT = 0.98
"""Of the most calls that were under way so much is believed at the next look, if it is more."""
