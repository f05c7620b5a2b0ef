"""Which of the events in hand are worked on next, together or alone."""

from svc.mesh.connection import Connection, Message
from svc.mesh.delivery import Arrival, Delivery
from svc.mesh.waiting import Waiting


def delivery(subject: str, sequence: int, kind: str = "QuickEvent") -> Delivery:
    """Return an event of an aggregate as the server delivers it."""
    body = f'{{"subject":"{subject}","type":"{kind}"}}'.encode()
    reply = f"$JS.ACK.WALLET.casino.2.{sequence}.{sequence}.1700000000000000000.0"
    return delivered(reply, body)


def delivered(reply: str, body: bytes) -> Delivery:
    message = Message("wallet.events.happened", reply, body, None)
    return Arrival(Connection(), message).deliveries(body)[0]


def waiting() -> Waiting:
    """Return queues in which slow events work alone."""
    return Waiting(lambda one: one.kind == "SlowEvent")


def sequences(deliveries: list[Delivery]) -> list[int]:
    return [one.sequence for one in deliveries]


def test_a_delivery_says_how_often_it_came_and_where_it_stands() -> None:
    one = delivery("player", 17)

    assert (one.key, one.kind) == ("player", "QuickEvent")
    assert (one.arrival.attempts, one.sequence) == (2, 17)


def test_a_delivery_of_a_server_with_a_domain_says_the_same() -> None:
    reply = "$JS.ACK.hub.ACCOUNT.WALLET.casino.3.21.4.1700000000000000000.0.token"
    one = delivered(reply, b"not json")

    assert (one.key, one.kind, one.arrival.attempts, one.sequence) == ("", "", 3, 21)


def test_events_of_different_aggregates_go_together() -> None:
    queues = waiting()
    for sequence, subject in enumerate(["a", "b", "a", "c"], 1):
        queues.add(delivery(subject, sequence))

    batch, keys = queues.next_together(room=10)

    assert sequences(batch) == [1, 3, 2, 4]
    assert keys == ["a", "b", "c"]
    assert not queues


def test_what_comes_while_its_aggregate_is_worked_on_waits_for_the_end() -> None:
    queues = waiting()
    queues.add(delivery("a", 1))
    _, keys = queues.next_together(room=10)
    queues.add(delivery("a", 2))
    assert not queues

    queues.give_back(keys)

    assert sequences(queues.next_together(room=10)[0]) == [2]


def test_what_finds_no_room_keeps_its_place() -> None:
    queues = waiting()
    for sequence in range(1, 6):
        queues.add(delivery("a", sequence))
    batch, keys = queues.next_together(room=3)
    queues.put_back(batch[1:])
    queues.give_back(keys)

    assert sequences(queues.next_together(room=10)[0]) == [2, 3, 4, 5]


def test_a_slow_event_ends_the_batch_before_it_and_goes_alone() -> None:
    queues = waiting()
    queues.add(delivery("a", 1))
    queues.add(delivery("a", 2, "SlowEvent"))
    queues.add(delivery("b", 3))

    assert queues.next_alone() is None
    batch, keys = queues.next_together(room=10)
    assert sequences(batch) == [1, 3]
    queues.give_back(keys)

    alone = queues.next_alone()
    assert alone is not None
    assert alone.sequence == 2
