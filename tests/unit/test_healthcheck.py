"""The health check, run as the image runs it: a process of its own against a real socket."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server
from threading import Thread

import pytest

from gateway.healthcheck import check, default_url


@contextmanager
def answering(status: HTTPStatus) -> Iterator[tuple[int, list[str]]]:
    """Serve this status to every request: gives the port, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.healthcheck", *arguments],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_a_gateway_that_answers_on_its_ops_port_is_healthy() -> None:
    with answering(HTTPStatus.OK) as (port, asked):
        result = run(GATEWAY_OPS_PORT=str(port))
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"http://127.0.0.1:{port}/healthz: 200\n"
    assert asked == ["/healthz"]


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:9090/healthz"),
        ({"GATEWAY_HOST": "0.0.0.0"}, "http://127.0.0.1:9090/healthz"),
        ({"GATEWAY_HOST": "::"}, "http://[::1]:9090/healthz"),
        ({"GATEWAY_HOST": "fd00::5", "GATEWAY_OPS_PORT": "80"}, "http://[fd00::5]:80/healthz"),
        ({"GATEWAY_HOST": "10.0.0.5", "GATEWAY_OPS_PORT": ""}, "http://10.0.0.5:9090/healthz"),
    ],
)
def test_it_asks_where_the_gateway_was_set_to_listen(environ: dict[str, str], url: str) -> None:
    assert default_url(environ) == url


def test_a_url_argument_is_asked_in_place_of_the_ops_port() -> None:
    with answering(HTTPStatus.OK) as (port, asked):
        result = run(f"http://127.0.0.1:{port}/alive", GATEWAY_OPS_PORT="1")
    assert result.returncode == 0
    assert asked == ["/alive"]


def test_a_proxy_named_by_the_environment_is_not_used() -> None:
    with answering(HTTPStatus.OK) as (port, _):
        result = run(GATEWAY_OPS_PORT=str(port), http_proxy="http://127.0.0.1:1")
    assert result.returncode == 0


def test_an_answer_other_than_200_is_unhealthy_and_named() -> None:
    with answering(HTTPStatus.SERVICE_UNAVAILABLE) as (port, _):
        result = run(GATEWAY_OPS_PORT=str(port))
    assert result.returncode == 1
    assert result.stdout == f"http://127.0.0.1:{port}/healthz: 503\n"


def test_nobody_listening_is_unhealthy_and_said_in_one_line() -> None:
    with create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = run(GATEWAY_OPS_PORT=str(port))
    assert (result.returncode, result.stderr) == (1, "")
    assert "Connection refused" in result.stdout
    assert result.stdout.count("\n") == 1


def test_a_server_that_never_answers_is_unhealthy_after_the_timeout() -> None:
    with create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/healthz"
        assert check(url, timeout=0.05) == (False, f"{url}: timed out")


def test_an_answer_that_is_not_http_is_unhealthy() -> None:
    with create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = Thread(target=answer)
        thread.start()
        healthy, line = check(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert not healthy
    assert "220 mail.example" in line


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9090", "https://localhost/healthz", "http://", "http://[::1", "http://h:x/"]
)
def test_an_argument_that_is_no_http_url_is_unhealthy_and_named(url: str) -> None:
    healthy, line = check(url)
    assert not healthy
    assert line.startswith(f"{url}: ")


def test_it_loads_neither_the_server_nor_its_libraries() -> None:
    script = "import gateway.healthcheck, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    assert {"aiohttp", "yaml", "jwt", "structlog", "asyncio"}.isdisjoint(result.stdout.split())
