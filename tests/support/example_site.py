"""The front end's example app as it is built, a log-in, a sample backend, the gateway before them.

Backend and gateway can be restarted where they were; the log-in lives on, as its key must.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from tests.support.gateway_process import ROOT, GatewayProcess, environment
from tests.support.sample_site import ROUTES, STREAM, SampleBackend

BUILT = ROOT / "frontend/example/dist"
_LOGIN = "path: /demo/login\n    method: POST\n    proxy_upstream: "
_APP_ROUTE = """
  - path: /app/{file:path}
    strip_prefix: /app
    proxy_upstream: $APP_URL
    auth_required: false
"""
APP_ROUTES = "cors: {origins: $APP_URL, credentials: true}\n" + (
    ROUTES.replace(f"{_LOGIN}$PROCESSOR_SERVICE_URL", f"{_LOGIN}$LOGIN_SERVICE_URL") + _APP_ROUTE
)


@dataclass(slots=True)
class ExampleSite:
    """The processes, each in the hand of the test."""

    directory: Path
    routes: str
    app_url: str
    login: SampleBackend
    backend: SampleBackend
    gateway: GatewayProcess = field(init=False)

    def __post_init__(self) -> None:
        self.gateway = self._serve(0)

    def _serve(self, port: int) -> GatewayProcess:
        env = environment(
            PROCESSOR_SERVICE_URL=self.backend.url,
            LOGIN_SERVICE_URL=self.login.url,
            APP_URL=self.app_url,
            GATEWAY_PUBLIC_KEY=str(self.directory / "login-key.pem"),
        )
        options = ("--port", str(port), "--drain-timeout", "0s")
        return GatewayProcess.serve(self.routes, self.directory, *options, env=env)

    def page(self, **query: object) -> str:
        """The address of the app, with these settings in its query."""
        return f"http://127.0.0.1:{self.gateway.port}/app/index.html?{urlencode(query)}"

    def foreign_page(self, origin: str, **query: object) -> str:
        """The address of the app at another origin, for the stream of this gateway."""
        order = urlencode({"steps": 4, "seconds": 0.4})
        stream = f"http://127.0.0.1:{self.gateway.port}{STREAM}?{order}"
        return f"{origin}/index.html?{urlencode({'endpoint': stream, **query})}"

    def restart_backend(self) -> None:
        """Start one where the one that was killed had been."""
        self.backend.exit_code()
        port = urlsplit(self.backend.url).port
        assert port is not None
        self.backend = SampleBackend.publishing(self.directory / "backend-key.pem", port)

    def restart_gateway(self) -> None:
        """Start one where the one that was killed had been."""
        port = self.gateway.port
        self.gateway.exit_code()
        self.gateway = self._serve(port)

    def stop(self) -> None:
        for process in (self.gateway, self.backend, self.login):
            process.stop()


@contextmanager
def running_example(directory: Path, routes: str = APP_ROUTES) -> Iterator[ExampleSite]:
    with ExitStack() as stack:
        app_url = stack.enter_context(_static_server())
        login = SampleBackend.publishing(directory / "login-key.pem")
        backend = SampleBackend.publishing(directory / "backend-key.pem")
        site = ExampleSite(directory, routes, app_url, login, backend)
        stack.callback(site.stop)
        yield site


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the gateway's log has it."""


@contextmanager
def _static_server() -> Iterator[str]:
    """Serve what was built, and yield the base URL."""
    assert BUILT.is_dir(), "the example app is not built: scripts/frontend build"
    handler = partial(_QuietHandler, directory=str(BUILT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
