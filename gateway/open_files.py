"""The limit of open files of this process: raised at the start, and kept from being reached.

At the limit no connection can be accepted, and none to an upstream can be opened. The event loop
then closes waiting connections without an error, so that connections are rejected before that.
"""

import asyncio
import contextlib
import errno
import os
import resource
import sys

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


# Descriptors that are reserved for connections to upstreams, for names and for files.
RESERVED_SHARE = 8  # one descriptor in so many
LEAST_RESERVED, MOST_RESERVED = 16, 1024
CHECK_INTERVAL = 1.0  # seconds
_EXHAUSTED = (errno.EMFILE, errno.ENFILE)
_HINT = "raise the limit (ulimit -n, LimitNOFILE) or set limits.max_connections"


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # a system without such a limit refuses
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class OpenFiles:
    """Decides by its descriptor whether a new connection has room, and logs when there is none.

    The kernel gives out the lowest free descriptor. So the number of a new one shows whether all
    below it are in use, at no cost. `rejected` counts connections without room.
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is that of the process by default."""
        self.rejected = 0
        self._limit = _limit() if limit is None else limit
        reserved = min(max(self._limit // RESERVED_SHARE, LEAST_RESERVED), MOST_RESERVED)
        self._first_reserved = self._limit - reserved
        # The lower half is for rejected connections, which wait for their response.
        self._first_critical = self._limit - reserved // 2
        self._rejected_before = 0
        self._rejected_at_check = 0
        self._check: asyncio.TimerHandle | None = None

    def admits(self, descriptor: int) -> bool:
        """Returns whether a new connection may stay; a connection that may not is counted."""
        if descriptor < self._first_reserved:
            return True
        self.rejected += 1
        self._note_shortage()
        return False

    def is_critical(self, descriptor: int) -> bool:
        """Returns whether a rejected connection must be closed at once, without a response."""
        return descriptor >= self._first_critical

    def caused(self, error: BaseException) -> bool:
        """Returns whether a connection failed because this process may open no more files.

        The error itself does not always say so: without a descriptor a name is just not found.
        """
        is_cause = getattr(error, "errno", None) in _EXHAUSTED or _lowest_free() is None
        if is_cause:
            self._note_shortage()
        return is_cause

    def _note_shortage(self) -> None:
        """Log the begin of a shortage, and wait for its end."""
        if self._check is None:
            log.error("open_files_exhausted", limit=self._limit, hint=_HINT)
            self._check_later()

    def _check_later(self) -> None:
        self._rejected_at_check = self.rejected
        self._check = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._look)

    def _look(self) -> None:
        """Log the end of a shortage: there is room, and nothing was rejected for a while."""
        lowest = _lowest_free()
        is_short = lowest is None or lowest >= self._first_reserved
        if is_short or self.rejected != self._rejected_at_check:
            self._check_later()
            return
        self._check = None
        log.info("open_files_recovered", rejected=self.rejected - self._rejected_before)
        self._rejected_before = self.rejected


def _limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _lowest_free() -> int | None:
    """Returns the lowest free descriptor, None if there is none."""
    try:
        descriptor = os.open("/", os.O_RDONLY)
    except OSError as error:
        return None if error.errno in _EXHAUSTED else 0
    os.close(descriptor)
    return descriptor
