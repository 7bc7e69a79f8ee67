"""The address of an upstream: `http(s)://host[:port][/base]` or `unix:/path.sock`."""

import ipaddress
import re
from typing import Literal

from gateway.config.loader.faults import quoted
from gateway.config.model import Upstream

_FORM = "must be http(s)://host[:port][/base] or unix:/path.sock"
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
# The authority without the credentials, or the path of a socket.
_REDIS_URL = re.compile(
    r"rediss?://(?:[^@/?#]*@)?([^@/?#]+)(?:/[0-9]*)?(?:\?[^#]*)?|unix://(?:[^@/?#]*@)?/[^?#]+(?:\?[^#]*)?"
)
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_BASE = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_LONGEST_NAME = 253  # RFC 1035, section 2.3.4, as text
_LONGEST_SOCKET = 107  # bytes of sun_path on Linux, less its NUL
_LAST_PORT = 65535


def upstream(text: str) -> Upstream:
    """Parses the address of an upstream. Raises ValueError."""
    if not text.isprintable() or " " in text:
        raise ValueError("must not hold white space or control characters")
    if text.startswith("unix:"):
        return Upstream(url=text, scheme="unix", socket_path=_socket(text.removeprefix("unix:")))
    parts = _URL.fullmatch(text)
    if parts is None:
        raise ValueError(_FORM)
    scheme: Literal["http", "https"] = "https" if parts[1].lower() == "https" else "http"
    if "@" in parts[2]:
        raise ValueError("must not hold credentials: send them with request_headers.set")
    host, port = authority(parts[2])
    return Upstream(
        url=text,
        scheme=scheme,
        host=host,
        port=port or (443 if scheme == "https" else 80),
        base_path=_base(parts[3]),
    )


def key_set(text: str) -> str:
    """Checks the URL of an issuer's keys. Raises ValueError."""
    if not text.isprintable() or " " in text:
        raise ValueError("must not hold white space or control characters")
    parts = _URL.fullmatch(text)
    if parts is None or "#" in text:
        raise ValueError("must be https://host[:port]/path, such as .../.well-known/jwks.json")
    if "@" in parts[2]:
        raise ValueError("must not hold credentials: keys are published to everyone")
    host, _ = authority(parts[2])
    if parts[1].lower() == "http" and not _is_loopback(host):
        raise ValueError("keys that came over http could be anyone's: use https")
    return text


def redis(text: str) -> str:
    """Checks a Redis URL. Raises ValueError, without any part of it: it may hold a password."""
    form = "must be redis(s)://[user:password@]host[:port][/database] or unix:///path.sock"
    parts = _REDIS_URL.fullmatch(text)
    if parts is None or not text.isprintable() or " " in text:
        raise ValueError(form)
    if parts[1]:
        try:
            authority(parts[1])
        except ValueError:
            raise ValueError(form) from None
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _socket(path: str) -> str:
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError("a socket is unix:/path.sock, with one slash and the whole path")
    if len(path.encode()) > _LONGEST_SOCKET:
        raise ValueError(f"the path of a socket has at most {_LONGEST_SOCKET} bytes")
    return path


def authority(text: str) -> tuple[str, int]:
    """Parses `host[:port]`; the port is 0 if none is given. Raises ValueError."""
    parts = _AUTHORITY.fullmatch(text)
    if parts is None or ":" in (parts[2] or ""):
        raise ValueError("an IPv6 address needs brackets, such as http://[::1]:8080")
    return _host(parts[1]), _port(parts[2])


def _port(text: str | None) -> int:
    """Returns the port, or 0 if none is given."""
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _LAST_PORT:
        raise ValueError(f"the port must be a number from 1 to {_LAST_PORT}")
    return int(text)


def _host(text: str) -> str:
    if not text:
        raise ValueError(f"the host is missing: {_FORM}")
    if text.startswith("["):
        return _address(text[1:-1], "IPv6")
    if re.fullmatch(r"(?:.*\.)?[0-9]+\.?", text, re.ASCII):
        return _address(text, "IPv4")
    return _name(text)


def _address(text: str, kind: Literal["IPv4", "IPv6"]) -> str:
    parse = ipaddress.IPv6Address if kind == "IPv6" else ipaddress.IPv4Address
    try:
        return str(parse(text))
    except ValueError as error:
        raise ValueError(f"{quoted(text)} is not an {kind} address") from error


def _name(text: str) -> str:
    try:
        name = text.encode("idna").decode() if not text.isascii() else text.lower()
    except UnicodeError as error:
        raise ValueError(f"{quoted(text)} is not a host name") from error
    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quoted(text)} is not a host name")
    return name


def _base(text: str) -> str:
    if "?" in text or "#" in text:
        raise ValueError("must not hold a query (?) or fragment (#): the request brings its own")
    if not _BASE.fullmatch(text):
        raise ValueError("a character in the base path must be percent-encoded")
    dotted = re.sub("%2e", ".", text, flags=re.IGNORECASE)
    if {".", ".."} & set(dotted.split("/")):
        raise ValueError("the base path must not hold . or .. segments")
    return text.rstrip("/")
