"""How many processor cores this process may use, for as many workers."""

import math
import os
from pathlib import Path

# What a container may use, in a control group of version 2: "QUOTA PERIOD", or "max PERIOD".
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable(quota: Path = QUOTA) -> int:
    """As many as the scheduler gives and the container's quota covers; 1 at the least."""
    cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _granted(quota))))


def _granted(quota: Path) -> float:
    """Cores that the quota is worth; infinite where there is none, or none that can be read."""
    try:
        most, period = quota.read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
