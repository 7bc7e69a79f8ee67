"""W3C Trace Context: the traceparent and tracestate of a request."""

import random
import re
from collections.abc import Sequence

# W3C Trace Context 3.2: version, trace-id, parent-id and flags. No id is all zeros, no version is
# ff, and nothing follows in version 00.
_TRACEPARENT = re.compile(
    rb"(?!ff|00(?:-[^-]*){4})[0-9a-f]{2}"
    rb"-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class TraceContext:
    """The trace that a request belongs to: the caller's where it is valid, else a new one.

    A traceparent that was sent twice is not valid. `parent` is the traceparent for the upstream,
    and `states` are the values of tracestate. They belong to their trace, so that a new trace has
    none (W3C Trace Context 3.3).
    """

    def __init__(self, parents: Sequence[bytes], states: Sequence[bytes]) -> None:
        found = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
        self.is_continued = found is not None
        self.parent: bytes
        self.states: Sequence[bytes]
        self.trace_id: str
        if found is not None:
            self.parent, self.states, self.trace_id = parents[0], states, found[1].decode()
        else:
            ids = random.getrandbits(192).to_bytes(24).hex()  # unique, not secret
            self.trace_id = ids[:32]
            self.parent = f"00-{self.trace_id}-{ids[32:]}-00".encode()
            self.states = ()
