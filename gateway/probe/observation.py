"""What was seen of the way in: plain data, which findings are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAST_EVENT_ID = "gateway-probe"  # what the probe sends as the ID of an event that it saw


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A test stream as it came: for each event when it was sent and when it was here, in seconds.

    The clocks are two, so that only differences mean anything. `broke_after` is the age at which it
    was cut before its end.
    """

    status: int = 200
    version: str = "1.1"
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    hello: Mapping[str, Any] = field(default_factory=dict)
    times: tuple[tuple[float, float], ...] = ()
    broke_after: float | None = None

    @property
    def span(self) -> float:
        """From when the first event was sent to the last."""
        return self.times[-1][0] - self.times[0][0] if self.times else 0.0

    @property
    def held(self) -> float:
        """The longest that an event was held back, compared to the one that came fastest."""
        lags = [arrived - sent for sent, arrived in self.times]
        return max(lags) - min(lags) if lags else 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """All streams of one probe: `plain` as an EventSource asks, and those that ask for more.

    `compressible` offers gzip. `bearer` has its token in a header, and is None without a token.
    `idle` was silent for `silence` seconds. `alpn` is what TLS settled on, None without TLS.
    """

    plain: Arrivals
    compressible: Arrivals
    bearer: Arrivals | None
    idle: Arrivals
    silence: float
    alpn: str | None
