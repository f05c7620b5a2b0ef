"""Events in hand that wait to be worked on: those of one aggregate one after the other, in order.

An aggregate of which something is being worked on lends its key to that work; its further events
wait until the key is given back.
"""

from collections import deque
from collections.abc import Callable

from svc.mesh.delivery import Delivery


class Waiting:
    """The queues of one consumer, by aggregate."""

    def __init__(self, works_alone: Callable[[Delivery], bool]) -> None:
        """Nothing waits; `works_alone` says which events share no transaction with others."""
        self.works_alone = works_alone
        self.queues: dict[str, deque[Delivery]] = {}
        self.ready: deque[str] = deque()
        """Aggregates with events that wait, and of which none is being worked on."""

    def __bool__(self) -> bool:
        """Say whether anything could be begun."""
        return bool(self.ready)

    def add(self, delivery: Delivery) -> bool:
        """Let an event wait; say whether it could be begun now."""
        queue = self.queues.get(delivery.key)
        if queue is None:
            self.queues[delivery.key] = deque((delivery,))
            self.ready.append(delivery.key)
            return True
        queue.append(delivery)
        return False

    def next_alone(self) -> Delivery | None:
        """Take the next event if it works alone; its key is lent with it."""
        queue = self.queues[self.ready[0]]
        if not self.works_alone(queue[0]):
            return None
        self.ready.popleft()
        return queue.popleft()

    def next_together(self, room: int) -> tuple[list[Delivery], list[str]]:
        """Take up to `room` events that may share a transaction, and the keys lent with them."""
        batch: list[Delivery] = []
        keys: list[str] = []
        works_alone = self.works_alone
        while self.ready and len(batch) < room:
            queue = self.queues[self.ready[0]]
            if works_alone(queue[0]):
                break
            keys.append(self.ready.popleft())
            while queue and len(batch) < room and not works_alone(queue[0]):
                batch.append(queue.popleft())
        return batch, keys

    def put_back(self, deliveries: list[Delivery]) -> None:
        """Let events wait again, before all others of their aggregates; their keys are lent."""
        for delivery in reversed(deliveries):
            self.queues[delivery.key].appendleft(delivery)

    def give_back(self, keys: list[str]) -> None:
        """Take keys back when the work that they were lent to has ended."""
        for key in keys:
            if self.queues[key]:
                self.ready.append(key)
            else:
                del self.queues[key]
