"""A preflight gets what its route allows; any other OPTIONS request is an ordinary request."""

import pytest

from gateway.auth.service import AuthService
from gateway.config.loader import loads
from gateway.config.model import Config
from gateway.endpoints.stream_token import StreamTokenEndpoint
from gateway.http.errors import ORIGIN_DENIED, Rejection
from gateway.http.headers import first
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.preflight import Preflights
from gateway.proxy.routes import Routes
from gateway.upstream.registry import UpstreamRegistry
from tests.support.receiving import Received

ROUTES = """\
auth: {token_endpoint: /auth/stream-token, secret: 0123456789abcdef0123456789abcdef}
routes:
- path: /jobs
  method: [GET, POST]
  proxy_upstream: http://127.0.0.1:1
  cors: {origins: ["https://page.example"]}
- path: /plain
  proxy_upstream: http://127.0.0.1:1
"""


def preflights(config: Config) -> Preflights:
    routes = Routes(config, UpstreamRegistry(), QuotaRegistry(None))
    path = config.auth.token_endpoint
    assert path is not None
    return Preflights(routes, {path: StreamTokenEndpoint(routes, AuthService(config))})


@pytest.fixture
def ours() -> Preflights:
    return preflights(loads(ROUTES, {}))


def asking(path: str, *, method: str = "POST", origin: str = "https://page.example") -> bytes:
    head = f"OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n"
    return f"{head}Access-Control-Request-Method: {method}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "methods"), [("/jobs", b"GET, HEAD, POST"), ("/auth/stream-token", b"POST")]
)
async def test_a_listed_page_gets_the_methods_of_what_it_asks_for(
    ours: Preflights, received: Received, path: str, methods: bytes
) -> None:
    incoming = await received(asking(path))
    reported = ours.allowed(incoming)
    assert reported is not None
    assert first(reported, b"access-control-allow-methods") == methods
    assert incoming.access is not None
    assert incoming.exchange.route == path


async def test_a_page_that_is_not_listed_is_refused(ours: Preflights, received: Received) -> None:
    incoming = await received(asking("/jobs", origin="https://other.example"))
    with pytest.raises(Rejection) as refused:
        ours.allowed(incoming)
    assert refused.value.failure is ORIGIN_DENIED


@pytest.mark.parametrize(
    "data",
    [
        asking("/plain"),
        asking("/nowhere"),
        asking("/jobs", method="DELETE"),
        b"OPTIONS /jobs HTTP/1.1\r\nHost: h\r\nOrigin: https://page.example\r\n\r\n",
        b"OPTIONS /jobs HTTP/1.1\r\nHost: h\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    ],
)
async def test_what_is_no_preflight_for_a_route_with_cors_is_left_alone(
    ours: Preflights, received: Received, data: bytes
) -> None:
    assert ours.allowed(await received(data)) is None
