"""`/healthz` and `/readyz`, on both ports."""

import json
from collections.abc import Callable, Mapping

from gateway.auth.cors import CorsPolicy
from gateway.http.headers import SERVER_NAME
from gateway.http.own_response import OwnResponse
from gateway.server.request import Request
from gateway.telemetry.health import Health


class HealthEndpoint:
    """Answers the reserved paths of the public port. Health checks are not recorded."""

    is_recorded = False
    methods = b"GET"

    def __init__(self, respond: Callable[[], OwnResponse]) -> None:
        self._respond = respond

    def policy(self, origin: bytes) -> CorsPolicy | None:  # noqa: ARG002 - no page reads it
        """Returns None: pages of other origins cannot read the response."""
        return None

    async def answer(self, request: Request) -> OwnResponse:  # noqa: ARG002 - as an endpoint
        """Returns the health of this moment."""
        return self._respond()


def alive() -> OwnResponse:
    """Returns the response that says that the process is alive."""
    return json_response({"status": "ok"})


def readiness(health: Health) -> OwnResponse:
    """Returns 200 if the gateway accepts new work, else 503; both have the checks."""
    status = "ready" if health.is_ready else "not_ready"
    body: dict[str, object] = {"status": status, "checks": health.checks()}
    return json_response(body, 200 if health.is_ready else 503)


def json_response(body: Mapping[str, object], status: int = 200) -> OwnResponse:
    """Returns a JSON document about the present moment, which no cache may keep."""
    headers = [
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Server", SERVER_NAME.encode()),
    ]
    return OwnResponse(status, headers, json.dumps(body).encode())
