"""What the figures were made on."""

import os
import platform
import sysconfig
from collections.abc import Collection
from pathlib import Path


def describe() -> str:
    """Processor, cores, kernel and interpreter, in a line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    # The gateway's figures depend on it: distributions and the image have it optimised.
    optimised = is_optimised(
        str(sysconfig.get_config_var("CONFIG_ARGS")), sysconfig.get_scheme_names()
    )
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; "
        f"Linux {platform.release()}; CPython {platform.python_version()}"
        f"{'' if optimised else ', built without optimisations'}"
    )


def is_optimised(configure_arguments: str, schemes: Collection[str]) -> bool:
    """Whether a Python was built with profile-guided optimisation.

    Debian and Ubuntu run `make profile-opt` without the option of configure, and remove the flags
    from what sysconfig knows: only they have the installation scheme "deb_system". The variable
    PGO_PROF_USE_FLAG is no help, since it is set wherever the compiler could do it.
    """
    return "--enable-optimizations" in configure_arguments or "deb_system" in schemes
