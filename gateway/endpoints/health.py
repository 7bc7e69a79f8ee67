"""`/healthz` and `/readyz`, on both ports."""

from collections.abc import Callable

from aiohttp import web

from gateway.auth.cors import CorsPolicy
from gateway.proxy.replies import json_response
from gateway.server.request import Request
from gateway.telemetry.health import Health


class HealthEndpoint:
    """Answers the reserved paths of the public port. Health checks are not recorded."""

    is_recorded = False
    methods = b"GET"

    def __init__(self, respond: Callable[[], web.Response]) -> None:
        self._respond = respond

    def policy(self, origin: bytes) -> CorsPolicy | None:  # noqa: ARG002 - no page reads it
        """Returns None: pages of other origins cannot read the response."""
        return None

    async def answer(self, request: Request) -> web.Response:  # noqa: ARG002 - as an endpoint
        """Returns the health of this moment."""
        return self._respond()


def alive() -> web.Response:
    """Returns the response that says that the process is alive."""
    return json_response({"status": "ok"})


def readiness(health: Health) -> web.Response:
    """Returns 200 if the gateway accepts new work, else 503; both have the checks."""
    status = "ready" if health.is_ready else "not_ready"
    body: dict[str, object] = {"status": status, "checks": health.checks()}
    return json_response(body, 200 if health.is_ready else 503)
