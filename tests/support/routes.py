"""The routes.yaml that most wire tests share, and the sockets that its upstreams live on."""

import socket
from dataclasses import dataclass
from pathlib import Path

TRUSTED = "127.0.0.2"  # a peer that the shared gateway believes; 127.0.0.1 is not believed

ROUTES = """\
auth:
  secret: $GATEWAY_JWT_SECRET
  forward_claims: {{sub: X-User-Id}}
  trusted_proxies: [127.0.0.2/32]
defaults:
  auth_required: false
  proxy_upstream: {service}
routes:
- path: /open/{{rest:path}}
- path: /private/{{rest:path}}
  auth_required: true
- path: /scoped/{{rest:path}}
  auth_required: true
  scopes: [jobs:read, jobs:write]
- path: /get-only
  method: GET
- path: /jobs/{{id}}/stream
- path: /jobs/mine/stream
  rewrite: /literal
- path: /large/{{rest:path}}
  max_body: 1GiB
- path: /small/{{rest:path}}
  max_body: 1KiB
- path: /base/{{rest:path}}
  proxy_upstream: {service}/service/v1
- path: /stripped/{{rest:path}}
  strip_prefix: /stripped
- path: /rewritten/{{id}}/{{rest:path}}
  rewrite: /v2/{{rest}}/of/{{id}}
- path: /same-host/{{rest:path}}
  preserve_host: true
- path: /rules/{{rest:path}}
  request_headers: {{set: {{X-Set: by the gateway}}, remove: [X-Unwanted]}}
  response_headers: {{set: {{X-Frame-Options: DENY}}, remove: [Server]}}
- path: /unix/{{rest:path}}
  proxy_upstream: unix:{unix}
- path: /tls/{{rest:path}}
  proxy_upstream: https://localhost:{tls_port}
- path: /tls-misnamed/{{rest:path}}
  proxy_upstream: https://127.0.0.1:{tls_port}
- path: /dead/{{rest:path}}
  proxy_upstream: http://127.0.0.1:{dead_port}
- path: /connect-timeout
  proxy_upstream: http://127.0.0.1:{deaf_port}
  connect_timeout: 300ms
- path: /first-byte-timeout
  first_byte_timeout: 300ms
- path: /idle-timeout
  idle_timeout: 1s
- path: /total-timeout
  timeout: 1s
- path: /send-timeout
  send_timeout: 1s
"""


def listener() -> socket.socket:
    """A listening socket on a free port."""
    return socket.create_server(("127.0.0.1", 0), backlog=128)


def dead() -> socket.socket:
    """A port that refuses: bound, so that nobody else takes it, and never listening."""
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    return dead


def _deaf() -> list[socket.socket]:
    """A port where connecting hangs: its backlog is full, and nobody accepts."""
    deaf = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(deaf.getsockname())
        waiting.append(client)
    return [deaf, *waiting]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the upstreams of the shared gateway are. The sockets outlive each test."""

    service: socket.socket
    tls: socket.socket
    dead: socket.socket
    deaf: list[socket.socket]
    unix: Path

    @classmethod
    def reserve(cls, directory: Path) -> "Places":
        return cls(listener(), listener(), dead(), _deaf(), directory / "service.sock")

    def routes(self) -> str:
        return ROUTES.format(
            service=f"http://127.0.0.1:{port_of(self.service)}",
            unix=self.unix,
            tls_port=port_of(self.tls),
            dead_port=port_of(self.dead),
            deaf_port=port_of(self.deaf[0]),
        )

    def close(self) -> None:
        for taken in (self.service, self.tls, self.dead, *self.deaf):
            taken.close()


def port_of(taken: socket.socket) -> int:
    return int(taken.getsockname()[1])
