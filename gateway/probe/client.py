"""The requests of the probe: test streams that are opened from outside and watched as they come."""

import asyncio
import contextlib
import json
import math
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from gateway.probe.findings import UNAUTHORIZED, is_held
from gateway.probe.observation import LAST_EVENT_ID, TRACE_ID, Arrivals, Observation

DEFAULT_PATH = "/gateway-probe"
LONGEST_SILENCE = 590.0  # seconds: a gateway serves test streams of 600
PATIENCE = 15.0  # seconds for a connection, a head, or an event beyond its time
EVENTS, INTERVAL = 10, 0.2
HEAVY_EVENTS, HEAVY_INTERVAL, PADDING = 32, 0.05, 1500  # bytes, of each event
_OK, _REDIRECTS, _ERRORS = 200, range(300, 400), 400
_NUMBERS = ("events", "silence", "addresses")  # numbers in the first event of a gateway
_UNREACHED = {502, 503, 504}
_GZIP_OR_ZLIB = 47  # window bits: the largest window, and either header
MOST_READ = 1024**2  # bytes of one response: far more than a test stream has
# How OpenSSL names a response that is no TLS, by its version.
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}

Progress = Callable[[str], None]


class ProbeError(Exception):
    """An error that keeps the probe from testing anything, in one line with what to do."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A test stream to request: see `gateway.endpoints.probe_stream`."""

    events: int = EVENTS
    interval: float = INTERVAL
    silence: float = 0.0
    padding: int = 0

    def query(self) -> dict[str, str]:
        names = ("events", "interval", "silence", "padding")
        return {name: str(getattr(self, name)) for name in names}

    def bound(self) -> float:
        """Returns the seconds after which it must have ended."""
        return self.events * self.interval + self.silence + PATIENCE


def target(text: str) -> URL:
    """Returns the URL of the test stream; an origin alone gets the usual path. Raises ProbeError.

    Messages show it without the query, which may have the token.
    """
    shown = text.partition("?")[0].rpartition("@")[2]
    try:
        url = URL(text).with_fragment(None)
    except ValueError as error:
        raise ProbeError(f"{shown}: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ProbeError(f"{shown}: must be an address such as https://example.org")
    if url.user is not None or url.password is not None:
        raise ProbeError(f"{shown}: leave out the user name and password: a token is what counts")
    return url.with_path(DEFAULT_PATH).with_query(url.query) if url.path in {"", "/"} else url


def _nobody(_: str) -> None:
    """Ignores progress."""


async def observe(
    url: URL, token: str | None, silence: float, progress: Progress = _nobody
) -> Observation:
    """Opens all streams and watches them to their end. Raises ProbeError."""
    if silence > LONGEST_SILENCE:
        raise ProbeError(f"--idle: a gateway is silent for {LONGEST_SILENCE:g}s at most")
    token = None if token is None else _sound(token)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, auto_decompress=False
    ) as session:
        return await _Prober(session, url, token).observe(silence, progress)


def _sound(token: str) -> str:
    """Returns a token that fits a URL and a header. Raises ProbeError."""
    token = token.strip()  # a file that it came from may end in an empty line
    if not token:
        raise ProbeError("--token: is empty: leave it out, or see whether its variable is set")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ProbeError("--token: must be a token whole and unchanged: one word in one line")
    return token


class _Prober:
    """Opens the streams, with the token where the gateway reads it."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, token: str | None) -> None:
        self._session = session
        self._url = url
        self._place = url.with_query(None)
        self._token = token
        self._parameter: str | None = "token"  # in the query; None if only the header is read

    async def observe(self, silence: float, progress: Progress) -> Observation:
        progress("opening the first streams")
        bearer = await self._bearer()
        plain = await self._watch(_Plan())  # alone, so that nothing else delays it
        refused = None
        if plain.status == UNAUTHORIZED and bearer is not None and bearer.status == _OK:
            refused, self._parameter = plain, None
            plain = await self._watch(_Plan())
        self._require_stream(plain)
        heavy = lively = None
        if is_held(plain):
            heavy = await self._watch(_Plan(HEAVY_EVENTS, HEAVY_INTERVAL, padding=PADDING))
        async with _counting(silence, progress):
            compressible, idle = await asyncio.gather(
                self._watch(_Plan(3), accept_encoding="gzip, deflate, br, zstd"),
                self._watch(_Plan(1, silence=silence)),
            )
        self._require_stream(idle)
        if idle.broke_after is not None and plain.broke_after is None:
            progress("a stream that says something all the time, to compare")
            lively = await self._watch(_lively(min(idle.broke_after, silence)))
        return Observation(
            plain=plain,
            compressible=compressible,
            bearer=bearer,
            idle=idle,
            silence=silence,
            alpn=await _alpn(self._url),
            refused=refused,
            lively=lively,
            heavy=heavy,
            event_size=PADDING,
        )

    async def _bearer(self) -> Arrivals | None:
        """Opens a first stream with the token in a header, which shows the query's parameter."""
        if self._token is None:
            return None
        parameter, self._parameter = self._parameter, None
        bearer = await self._watch(_Plan(1))
        self._parameter = bearer.hello.get("query", parameter)
        return bearer

    def _require_stream(self, arrivals: Arrivals) -> None:
        """Raises ProbeError if no test stream came, or a hop cut it."""
        hello, status, url = arrivals.hello, arrivals.status, self._place
        if hello.get("gateway") == "probe" or (status >= _ERRORS and arrivals.broke_after):
            return
        code = hello.get("code")
        if code == "route_not_found":
            raise ProbeError(
                f"{url}: a gateway, but without a test stream here: add `probe: {url.path}` to its"
                " routes.yaml, or give the whole URL of the one that there is"
            )
        if status == UNAUTHORIZED and code:
            cause = hello.get("detail", "it wants a token")
            raise ProbeError(
                f"{url}: 401, {cause} Give one with --token, such as from `gateway token`."
            )
        if code:
            raise ProbeError(f"{url}: {status} {code}: {hello.get('detail', '')}")
        if status in _REDIRECTS:
            raise ProbeError(f"{url}: {status}, which leads {self._onward(arrivals)}")
        coding = arrivals.headers.get("content-encoding")
        if status == _OK and coding:
            raise ProbeError(
                f"{url}: a hop compresses it ({coding}), although none was asked for, and the probe"
                " cannot read that: turn it off for text/event-stream"
            )
        server = arrivals.headers.get("server", "a hop")
        if status in _UNREACHED:
            raise ProbeError(f"{url}: {status} from {server}, which does not reach the gateway")
        raise ProbeError(f"{url}: {status} from {server}, and not from a gateway's test stream")

    def _onward(self, arrivals: Arrivals) -> str:
        """Returns the target of a redirect without the query, which may have the token."""
        try:
            place = self._url.join(URL(arrivals.headers["location"])).with_query(None)
        except (KeyError, ValueError):
            return "nowhere"
        return f"to {place}: probe that"

    async def _watch(self, plan: _Plan, *, accept_encoding: str = "identity") -> Arrivals:
        """Watches one stream to its end or cut. Raises ProbeError if none begins."""
        query = plan.query()
        headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": accept_encoding,
            "Cache-Control": "no-cache",
            "Last-Event-ID": LAST_EVENT_ID,
            "Origin": str(self._url.origin()),
            "traceparent": f"00-{TRACE_ID}-{TRACE_ID[:16]}-00",
        }
        if self._token is not None and self._parameter is not None:
            query[self._parameter] = self._token
        elif self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        began = time.monotonic()
        try:
            async with asyncio.timeout(plan.bound()):
                response = await self._session.get(
                    self._url.update_query(query), headers=headers, allow_redirects=False
                )
            async with response:
                if response.status == _OK:
                    return await _watched(response, plan, began)
                async with asyncio.timeout(plan.bound()):
                    return await _refused(response, plan, began)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ProbeError(f"{self._place}: {_cause(error, plan)}") from None


def _lively(age: float) -> _Plan:
    """Returns a stream that is never silent for long, and outlasts one that was cut at this age."""
    interval = min(max(age / 5, INTERVAL), LONGEST_SILENCE / 6)
    return _Plan(math.ceil(age / interval) + 1, interval)


@asynccontextmanager
async def _counting(silence: float, progress: Progress) -> AsyncIterator[None]:
    """Report each second of a silence."""

    async def count() -> None:
        for second in range(math.ceil(silence)):
            progress(f"a silence: {second}s of {silence:g}s")
            await asyncio.sleep(1)

    task = asyncio.create_task(count())
    try:
        yield
    finally:
        task.cancel()


def _head(response: aiohttp.ClientResponse) -> Arrivals:
    version = response.version
    return Arrivals(
        status=response.status,
        version=f"{version.major}.{version.minor}" if version else "",
        headers={name.lower(): value for name, value in response.headers.items()},
    )


async def _refused(response: aiohttp.ClientResponse, plan: _Plan, began: float) -> Arrivals:
    """Returns what came instead of a stream: from the gateway, or from a hop."""
    hello = _object(b"".join([data async for data in _body(response)]))
    is_cut = plan.silence > 0 and response.status >= _ERRORS and "code" not in hello
    age = time.monotonic() - began if is_cut else None
    return replace(_head(response), hello=hello, broke_after=age)


async def _watched(response: aiohttp.ClientResponse, plan: _Plan, began: float) -> Arrivals:
    times: list[tuple[float, float]] = []
    hello: Mapping[str, Any] = {}
    is_cut = is_hung = False
    try:
        async with asyncio.timeout(plan.bound()):
            async for event, arrived in _events(response):
                if not hello and not _is_hello(event):
                    break
                hello = hello or event
                times.append((float(event.get("at", 0.0)), arrived))
    except TimeoutError:
        is_cut = is_hung = True
    except aiohttp.ClientError:
        is_cut = True
    if times:  # else it is not from a gateway, or has an unknown coding
        is_cut = is_cut or len(times) <= hello.get("events", plan.events)
    return replace(
        _head(response),
        hello=hello,
        times=tuple(times),
        broke_after=time.monotonic() - began if is_cut else None,
        is_hung=is_hung,
    )


async def _events(
    response: aiohttp.ClientResponse,
) -> AsyncIterator[tuple[Mapping[str, Any], float]]:
    """Yields the data of each event, and when it arrived."""
    rest = b""
    async for data in _decoded(response):
        arrived = time.monotonic()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line[:6] == b"data: ":
                event = _object(line[6:])
                if isinstance(event.get("at", 0.0), int | float):
                    yield event, arrived


def _is_hello(event: Mapping[str, Any]) -> bool:
    """Whether it is the first event of a gateway, with all that findings need."""
    saw = event.get("saw")
    return (
        event.get("gateway") == "probe"
        and isinstance(saw, dict)
        and all(isinstance(value, str) for value in saw.values())
        and isinstance(event.get("query"), str | None)
        and all(isinstance(event.get(name, 0), int | float) for name in _NUMBERS)
    )


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yields the body as it comes, but no more than a gateway sends."""
    left = MOST_READ
    async for data in response.content.iter_any():
        yield data
        left -= len(data)
        if left < 0:
            return


async def _decoded(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yields the body decoded from gzip or deflate; nothing for other codings."""
    coding = response.headers.get("Content-Encoding", "identity")
    if coding == "identity":
        async for data in _body(response):
            yield data
    elif coding in {"gzip", "deflate"}:
        decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        with contextlib.suppress(zlib.error):  # it is neither, then
            async for data in _body(response):
                yield decoder.decompress(data)


def _object(data: bytes) -> Mapping[str, Any]:
    """Returns a JSON object, or an empty one for anything else."""
    try:
        read = json.loads(data)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _cause(error: BaseException, plan: _Plan) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        why = getattr(cause, "verify_message", "") or str(cause)
        return f"browsers will not trust its certificate: {why.rstrip('.')}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        reason = getattr(error.os_error, "reason", None) or str(error.os_error)
        if reason in _NO_TLS:
            return "there is no TLS on this port: try http://"
        return f"TLS fails: {reason.replace('_', ' ').lower()}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    if isinstance(error, TimeoutError):
        return f"no answer in {plan.bound():g}s"
    return str(error) or type(error).__name__


async def _alpn(url: URL) -> str | None:
    """Returns the protocol that TLS negotiates with an HTTP/2 client; None without TLS."""
    if url.scheme != "https":
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
    except (OSError, TimeoutError) as error:
        raise ProbeError(f"{url.with_query(None)}: cannot connect once more: {error}") from None
    settled = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return settled or "http/1.1"
