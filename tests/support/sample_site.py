"""The sample backend and the gateway before it, each a process, as `docker compose up` has them."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.gateway_process import ROOT, GatewayProcess, Line, environment

ROUTES = (ROOT / "routes.yaml").read_text()
STREAM = "/api/v1/process/stream"


class SampleBackend(GatewayProcess):
    """A running `gateway sample-backend`."""

    url: str

    @classmethod
    def publishing(cls, public_key: Path, port: int = 0) -> "SampleBackend":
        """Start one that writes its public key into this file, and await its URL."""
        env = environment(SAMPLE_PUBLIC_KEY_FILE=str(public_key))
        backend = cls("sample-backend", "--port", str(port), env=env)
        event = "sample_backend_listening"
        line = backend._await_line(event, lambda line: line["event"] == event)
        backend.url = str(line["url"])
        return backend

    async def line(self, event: str, **fields: object) -> Line:
        """Wait for the first line of this event whose fields are these."""
        wanted = {"event": event, **fields}
        return await asyncio.to_thread(
            self._await_line, f"line with {wanted}", lambda line: wanted.items() <= line.items()
        )

    def lines(self, event: str, **fields: object) -> list[Line]:
        """The lines so far of this event whose fields are these."""
        wanted = {"event": event, **fields}
        with self._news:
            return [line for line in self._lines if wanted.items() <= line.items()]

    def kill(self) -> None:
        """End it as a crash does, with no word to anyone."""
        self.signal(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Site:
    backend: SampleBackend
    gateway: GatewayProcess

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"


@contextmanager
def running_site(directory: Path, routes: str = ROUTES) -> Iterator[Site]:
    """Run both inside the block, and end what has not ended by then."""
    public_key = directory / "public-key.pem"
    with ExitStack() as processes:
        backend = SampleBackend.publishing(public_key)
        processes.callback(backend.stop)
        env = environment(PROCESSOR_SERVICE_URL=backend.url, GATEWAY_PUBLIC_KEY=str(public_key))
        gateway = GatewayProcess.serve(routes, directory, env=env)
        processes.callback(gateway.stop)
        yield Site(backend, gateway)
