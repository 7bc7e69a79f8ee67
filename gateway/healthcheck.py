"""``python -m gateway.healthcheck [URL]``: the image's HEALTHCHECK, which needs no curl or shell.

Asks the ops port's ``/healthz``, or URL, once. Prints one line that says what it saw; exits 0 for
a 200 answer and 1 for anything else (2 is reserved by Docker). Standard library only, and little
of it, as it runs every few seconds beside the gateway.
"""

import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.parse import SplitResult, urlsplit

TIMEOUT = 2.0
OPS_PORT = "9090"
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def default_url(environ: Mapping[str, str]) -> str:
    """Returns the ops port's address: the one that the gateway listens on, or loopback for all."""
    host = environ.get("GATEWAY_HOST", "")
    host = LOOPBACK.get(host, host)
    port = environ.get("GATEWAY_OPS_PORT") or OPS_PORT
    return f"http://[{host}]:{port}/healthz" if ":" in host else f"http://{host}:{port}/healthz"


def check(url: str, timeout: float = TIMEOUT) -> tuple[bool, str]:
    """Ask once, with `timeout` seconds for each byte. Returns whether it is healthy, and why."""
    try:
        target = urlsplit(url)
        if target.scheme != "http" or not target.hostname:
            return False, f"{url}: not an http:// URL"
        status = _status(target, timeout)
    except (OSError, HTTPException, ValueError) as error:
        return False, f"{url}: {error or type(error).__name__}"
    return status == HTTPStatus.OK, f"{url}: {status}"


def _status(target: SplitResult, timeout: float) -> int:
    # http.client, because urllib.request would use a proxy that the environment names.
    connection = HTTPConnection(target.hostname or "", target.port, timeout=timeout)
    try:
        connection.request("GET", target.path or "/", headers={"Connection": "close"})
        return connection.getresponse().status
    finally:
        connection.close()


def main() -> int:
    url = sys.argv[1] if len(sys.argv) > 1 else default_url(os.environ)
    healthy, line = check(url)
    print(line)  # noqa: T201 - what `docker inspect` shows of a health check
    return 0 if healthy else 1


if __name__ == "__main__":
    raise SystemExit(main())
