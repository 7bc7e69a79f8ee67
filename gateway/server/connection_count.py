"""The number of connections of the public port, over all processes that serve it."""

import mmap
import os

_SLOT = 8  # bytes: one number for each process


class ConnectionCount:
    """Counts the connections of one process, and knows the counts of all.

    `rejected` counts those of this process that were over the limit.

    Each process writes only its own number in shared memory. So no process waits, and a count costs
    a few additions.
    """

    def __init__(self, slots: memoryview, own: int) -> None:
        """`slots` are numbers (format "q"), and `own` is the index of this process."""
        self.rejected = 0
        self._slots = slots
        self._own = own

    @classmethod
    def alone(cls) -> "ConnectionCount":
        """Returns the count of a single process."""
        return cls(memoryview(bytearray(_SLOT)).cast("q"), 0)

    def enter(self, most: int | None) -> bool:
        """Count one more. Returns False, with nothing counted, if that would be over `most`.

        It is counted before the check: of two processes with one place left, at most one gets it.
        Both may be rejected.
        """
        self._slots[self._own] += 1
        if most is None or sum(self._slots) <= most:
            return True
        self.leave()
        self.rejected += 1
        return False

    def leave(self) -> None:
        """Count one less."""
        self._slots[self._own] -= 1


def shared(count: int) -> int:
    """Returns the descriptor of memory for so many processes, to be inherited."""
    descriptor = os.memfd_create("gateway-headcount")
    os.ftruncate(descriptor, count * _SLOT)
    return descriptor


def slots(descriptor: int) -> memoryview:
    """Returns the numbers in shared memory."""
    return memoryview(mmap.mmap(descriptor, 0)).cast("q")
