"""The settings of a process that are not in routes.yaml."""

from dataclasses import dataclass

BACKLOG = 1024  # connections that the kernel holds until they are accepted
END_GRACE = 2.0  # seconds that an exchange has to end, once it is asked to


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen and how to drain. Port 0 is any free port; the delays are seconds."""

    host: str = "0.0.0.0"  # noqa: S104 - a container's front is meant to be reached
    port: int = 8080
    ops_port: int = 9090
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
