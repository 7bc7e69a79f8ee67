"""What the figures were made on."""

import os
import platform
import sysconfig
from pathlib import Path


def describe() -> str:
    """Processor, cores, kernel and interpreter, in a line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    # The gateway's figures depend on it: distributions and the image have it optimised.
    optimised = "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; "
        f"Linux {platform.release()}; CPython {platform.python_version()}"
        f"{'' if optimised else ', built without optimisations'}"
    )
