"""What the probe observed: plain data, from which findings are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAST_EVENT_ID = "gateway-probe"  # the id of an event that the probe claims to have seen
TRACE_ID = "67617465776179207761732068657265"  # of the trace that the probe sends


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A test stream as it came: for each event the seconds when it was sent and when it arrived.

    The clocks are two, so that only differences mean anything. `broke_after` is the age at which it
    was cut before its end, also if the cut looked like an end. With `is_hung` nothing showed the
    cut, and the probe gave up. `hello` is the first event of the gateway, or the problem document
    of its rejection.
    """

    status: int = 200
    version: str = "1.1"
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    hello: Mapping[str, Any] = field(default_factory=dict)
    times: tuple[tuple[float, float], ...] = ()
    broke_after: float | None = None
    is_hung: bool = False

    @property
    def saw(self) -> Mapping[str, str]:
        """The headers of the request as they came to the gateway, names in lower case."""
        saw: Mapping[str, str] = self.hello.get("saw", {})
        return saw

    @property
    def span(self) -> float:
        """The seconds from the first event to the last, as sent."""
        return self.times[-1][0] - self.times[0][0] if self.times else 0.0

    @property
    def held(self) -> float:
        """The longest time that an event was held back, compared to the fastest one."""
        lags = [arrived - sent for sent, arrived in self.times]
        return max(lags) - min(lags) if lags else 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """All streams of one probe. `plain` is as an EventSource asks; the others ask for more.

    `compressible` offers gzip. `bearer` has its token in a header, and is None without a token.
    `refused` asked like `plain`, with the token in the query, if only the header was accepted.
    `idle` was silent for `silence` seconds. `lively` was never silent for longer than `idle`
    lasted; it is None if `idle` was not cut. `heavy` has large events, and is None if none were
    held back. `alpn` is the protocol that TLS negotiated, None without TLS.
    """

    plain: Arrivals
    compressible: Arrivals
    bearer: Arrivals | None
    idle: Arrivals
    silence: float
    alpn: str | None
    refused: Arrivals | None = None
    lively: Arrivals | None = None
    heavy: Arrivals | None = None
    event_size: int = 0  # bytes of each event of `heavy`

    @property
    def was_silent(self) -> bool:
        """Whether the gateway confirmed the requested silence."""
        silence: float = self.idle.hello.get("silence", self.silence)
        return silence == self.silence
