"""Connections are counted over all processes, and never more than the limit are accepted."""

import os

from gateway.server.connection_count import ConnectionCount, shared, slots


def test_alone_it_lets_in_as_many_as_may_be() -> None:
    count = ConnectionCount.alone()
    assert [count.enter(2) for _ in range(3)] == [True, True, False]
    count.leave()
    assert count.enter(2)
    assert count.enter(None)


def test_processes_know_of_each_other() -> None:
    descriptor = shared(2)
    # Two mappings of the same memory, as two processes have them.
    one, other = (ConnectionCount(slots(descriptor), own) for own in range(2))
    assert one.enter(2)
    assert other.enter(2)
    assert not one.enter(2)
    other.leave()
    assert one.enter(2)
    os.close(descriptor)


def test_a_slot_that_is_cleared_makes_room() -> None:
    descriptor = shared(2)
    one, other = (ConnectionCount(slots(descriptor), own) for own in range(2))
    assert one.enter(1)
    slots(descriptor)[0] = 0
    assert other.enter(1)
    os.close(descriptor)
