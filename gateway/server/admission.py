"""Decides whether a new client connection has room, by all limits on connections."""

from enum import Enum

from gateway.open_files import OpenFiles
from gateway.server.connection_count import ConnectionCount


class Verdict(Enum):
    """What happens to a new connection."""

    ADMITTED = "admitted"
    REJECTED = "rejected"  # with an answer
    CLOSED = "closed"  # at once, because the descriptors are nearly used up


class Admission:
    """Admits connections while `connection_count` and `files`, where given, have room for them."""

    def __init__(
        self, connection_count: ConnectionCount | None = None, files: OpenFiles | None = None
    ) -> None:
        self._connection_count = connection_count or ConnectionCount.alone()
        self._files = files

    def enter(self, descriptor: int, most: int | None) -> Verdict:
        """Count a new connection with this descriptor, if it is admitted; `most` may be open."""
        files = self._files
        if files is None or files.admits(descriptor):
            return Verdict.ADMITTED if self._connection_count.enter(most) else Verdict.REJECTED
        return Verdict.CLOSED if files.is_critical(descriptor) else Verdict.REJECTED

    def leave(self) -> None:
        """Record that an admitted connection has closed."""
        self._connection_count.leave()

    @property
    def rejected(self) -> dict[str, int]:
        """Returns how many connections of this process had no room, by limit."""
        return {
            "max_connections": self._connection_count.rejected,
            "open_files": 0 if self._files is None else self._files.rejected,
        }
