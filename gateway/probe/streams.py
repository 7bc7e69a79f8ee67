"""The probe's own requests: test streams, opened from outside and watched as they come."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from gateway.probe.observation import LAST_EVENT_ID, Arrivals, Observation

DEFAULT_PATH = "/gateway-probe"
PATIENCE = 15.0  # seconds for a connection, a head, or an event beyond its time
EVENTS, INTERVAL = 10, 0.2
_HTTP_ERROR = 400


class ProbeError(Exception):
    """What keeps the probe from seeing anything, in a line that says what to do."""


def target(text: str) -> URL:
    """The URL of the test stream; a bare origin has it at the usual path. Raises ProbeError."""
    try:
        url = URL(text)
    except ValueError as error:
        raise ProbeError(f"{text}: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ProbeError(f"{text}: must be an address such as https://example.org")
    return url.with_path(DEFAULT_PATH) if url.path in {"", "/"} else url


async def observe(url: URL, token: str | None, silence: float) -> Observation:
    """Open all streams, beside each other, and watch them to their end. Raises ProbeError."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, auto_decompress=False
    ) as session:
        prober = _Prober(session, url, token)
        plain = await prober.watch(in_query=True)  # alone: nothing else is to hold it up
        _require_gateway(url, plain)
        compressible, bearer, idle = await asyncio.gather(
            prober.watch(in_query=True, events=3, accept_encoding="gzip, deflate, br"),
            _nothing() if token is None else prober.watch(in_query=False, events=1),
            prober.watch(in_query=True, events=1, silence=silence),
        )
    return Observation(plain, compressible, bearer, idle, silence, await _alpn(url))


async def _nothing() -> None:
    return None


def _require_gateway(url: URL, plain: Arrivals) -> None:
    if plain.hello.get("gateway") == "probe":
        return
    code = plain.hello.get("code")
    if code == "route_not_found":
        raise ProbeError(
            f"{url}: a gateway, but without a test stream here: add `probe: {url.path}` to its"
            " routes.yaml, or give the whole URL of the one that there is"
        )
    if plain.status == 401:  # noqa: PLR2004
        cause = plain.hello.get("detail", "it wants a token")
        raise ProbeError(
            f"{url}: 401, {cause} Give one with --token, such as from `gateway token`."
        )
    if code:
        raise ProbeError(f"{url}: {plain.status} {code}: {plain.hello.get('detail', '')}")
    raise ProbeError(f"{url}: {plain.status}, and not from a gateway's test stream")


class _Prober:
    def __init__(self, session: aiohttp.ClientSession, url: URL, token: str | None) -> None:
        self._session = session
        self._url = url
        self._token = token

    async def watch(
        self,
        *,
        in_query: bool,
        events: int = EVENTS,
        silence: float = 0.0,
        accept_encoding: str = "identity",
    ) -> Arrivals:
        """One stream, to its end or its cut. Raises ProbeError where none begins."""
        query = {"events": str(events), "interval": str(INTERVAL), "silence": str(silence)}
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": accept_encoding,
            "Cache-Control": "no-cache",
            "Last-Event-ID": LAST_EVENT_ID,
        }
        if self._token is not None and in_query:
            query["token"] = self._token
        elif self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        bound = events * INTERVAL + silence + PATIENCE
        try:
            async with self._session.get(
                self._url.update_query(query), headers=headers, allow_redirects=False
            ) as response:
                return await _watched(response, events + 1, bound)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ProbeError(f"{self._url}: {_cause(error)}") from None


async def _watched(response: aiohttp.ClientResponse, events: int, bound: float) -> Arrivals:
    """So many events as they come, or fewer where somebody ends it before: in order or not."""
    began = time.monotonic()
    version = response.version
    told: dict[str, Any] = {
        "status": response.status,
        "version": f"{version.major}.{version.minor}" if version else "",
        "headers": {name.lower(): value for name, value in response.headers.items()},
    }
    if response.status >= _HTTP_ERROR:
        return Arrivals(**told, hello=_object(await response.read()))
    times: list[tuple[float, float]] = []
    hello: Mapping[str, Any] = {}
    rest = b""
    # What is missing in the end was cut off, however that looked.
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(bound):
            async for data in response.content.iter_any():
                now = time.monotonic()
                *lines, rest = (rest + data).split(b"\n")
                for event in map(_object, [line[6:] for line in lines if line[:6] == b"data: "]):
                    hello = hello or event
                    times.append((float(event.get("at", 0.0)), now))
    broke_after = time.monotonic() - began if len(times) < events else None
    return Arrivals(**told, hello=hello, times=tuple(times), broke_after=broke_after)


def _object(data: bytes) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    try:
        read = json.loads(data)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _cause(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not to be trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:g}s"
    return str(error) or type(error).__name__


async def _alpn(url: URL) -> str | None:
    """What TLS settles on with a client that knows HTTP/2; None without TLS."""
    if url.scheme != "https":
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    settled = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return settled or "http/1.1"
