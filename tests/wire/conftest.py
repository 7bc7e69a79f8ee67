"""The stage: one gateway that most tests share, an upstream for each test, raw clients."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import certificates
from tests.support.gateway_process import GatewayProcess, environment
from tests.support.raw_client import RawClient
from tests.support.routes import Places
from tests.support.upstream import Upstream


class Connect(Protocol):
    """Opens a client; to the shared gateway unless a port says otherwise."""

    async def __call__(
        self, port: int = 0, *, source: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> RawClient: ...


class StartGateway(Protocol):
    """Starts a gateway of the test's own, where `$SERVICE` is the upstream's URL."""

    def __call__(self, routes: str, *options: str, **variables: str) -> GatewayProcess: ...


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    places = Places.reserve(tmp_path_factory.mktemp("places"))
    yield places
    places.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def gateway(
    places: Places,
    tls: tuple[Path, ssl.SSLContext],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    """The shared gateway. At the end it stops cleanly, and no token is in its log."""
    env = environment(SSL_CERT_FILE=str(tls[0]))
    gateway = GatewayProcess.serve(places.routes(), tmp_path_factory.mktemp("gateway"), env=env)
    yield gateway
    assert gateway.stop() == 0, gateway.output
    assert gateway.error_output == ""
    assert "eyJ" not in gateway.output, "a token stands in the log"
    assert "Traceback" not in gateway.output


@pytest.fixture
async def upstream(places: Places) -> AsyncIterator[Upstream]:
    """The service behind most routes of the shared gateway, with a clean record."""
    upstream = Upstream()
    upstream.start(places.service.dup())
    yield upstream
    await upstream.stop()


@pytest.fixture
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    with ExitStack() as clients:

        async def connect(
            port: int = 0, *, source: str = "127.0.0.1", receive_buffer: int | None = None
        ) -> RawClient:
            if port == 0:
                port = request.getfixturevalue("gateway").port
            client = await RawClient.connect(port, source=source, receive_buffer=receive_buffer)
            clients.callback(client.close)
            return client

        yield connect


@pytest.fixture
async def client(gateway: GatewayProcess, connect: Connect) -> RawClient:
    """One connection to the shared gateway."""
    return await connect(gateway.port)


@pytest.fixture
def start_gateway(tmp_path: Path, service: Upstream) -> Iterator[StartGateway]:
    """What the test started and did not stop itself is stopped, and ends cleanly."""
    with ExitStack() as gateways:

        def start(routes: str, *options: str, **variables: str) -> GatewayProcess:
            variables = {"SERVICE": f"http://127.0.0.1:{service.port}", **variables}
            env = environment(**variables)
            gateway = GatewayProcess.serve(routes, tmp_path, *options, env=env)
            gateways.callback(gateway.stop)
            return gateway

        yield start
