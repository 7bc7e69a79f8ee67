"""How many processor cores this process may use: the default number of workers."""

import math
import os
from pathlib import Path

# The quota of a container, in a control group of version 2: "QUOTA PERIOD", or "max PERIOD".
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable(quota: Path = QUOTA) -> int:
    """Returns the cores that the scheduler allows and the container's quota covers; at least 1."""
    cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _granted(quota))))


def _granted(quota: Path) -> float:
    """Returns the cores that the quota covers; infinite if there is none, or none can be read."""
    try:
        most, period = quota.read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
