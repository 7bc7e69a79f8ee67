"""Fetches the keys of an issuer over HTTP, keeps them while it is away, and renews them.

One fetch runs at a time. A request whose token has a known key never waits
for a fetch.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.auth.jwks import KeySet
from gateway.background import in_background
from gateway.dns import Address
from gateway.http.errors import KEYS_UNAVAILABLE, Rejection
from gateway.http.headers import SERVER_NAME

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

MAX_SIZE = 256 * 1024
TIMEOUT = 5.0
# Seconds between two fetches: as the issuer says (RFC 9111, max-age), within these bounds.
REFRESH, LEAST_REFRESH, MOST_REFRESH = 600.0, 60.0, 3600.0
# Seconds after a failure, doubled each time.
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
# Seconds between two fetches for tokens with an unknown key, which any client can invent.
PAUSE = 10.0
WAIT = 3.0  # seconds that a request waits

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:[\s,]|$)", re.IGNORECASE)


# The addresses of a name: each a number, and its family.
Addresses = Callable[[str], Awaitable[Sequence[Address]]]


class _Names(AbstractResolver):
    """Resolves names for aiohttp's client by the gateway's own resolver."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Called by aiohttp. Raises OSError."""
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=each.host,
                port=port,
                family=each.family,
                proto=0,
                flags=numeric,
            )
            for each in await self._addresses(host)
            if family in {socket.AF_UNSPEC, each.family}
        ]

    async def close(self) -> None:
        """Called by aiohttp. The resolver is not its own."""


class KeyFetcher:
    """Fetches the key set at a URL, and passes each new one to `take`."""

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        take: Callable[[KeySet], None],
        addresses: Addresses | None = None,
    ) -> None:
        """`addresses` resolves the URL's host; without it the event loop does."""
        self.has_keys = False
        self._addresses = addresses
        self._url, self._algorithms, self._take = url, algorithms, take
        self._place = str(URL(url).with_user(None).with_query(None))  # either may hold a secret
        self._text = b""
        self._keys: KeySet | None = None
        self._failures = 0  # since the last answer
        self._delay = 0.0
        self._next_ask = 0.0
        self._settled = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch, again and again, until `close`. A second call changes nothing."""
        if self._keeper is not None:
            return
        names = None if self._addresses is None else _Names(self._addresses)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=names, use_dns_cache=names is None),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": SERVER_NAME},
        )
        self._keeper = in_background(self._keep(self._session))

    def hand_to(self, take: Callable[[KeySet], None]) -> None:
        """Pass keys to another receiver from now on, and the present ones at once."""
        if take == self._take:
            return
        self._take = take
        if self._keys is not None:
            take(self._keys)

    async def close(self) -> None:
        """Stop, and close the connection."""
        tasks = [task for task in (self._keeper, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def refetch_keys(self) -> None:
        """Wait for a fetch, for a token whose key is not known.

        Raises Rejection KEYS_UNAVAILABLE if the issuer has not answered.
        """
        now = asyncio.get_running_loop().time()
        # A wait for a fetch that runs anyway, as at the start, does not count as a fetch.
        if self._session is not None and self._is_idle and now >= self._next_ask:
            self._next_ask = now + PAUSE
            self._fetch_once(self._session)
        try:
            async with asyncio.timeout(WAIT):
                await self._settled.wait()
        except TimeoutError:
            raise Rejection(KEYS_UNAVAILABLE, reason="jwks_url") from None
        if self._failures:
            raise Rejection(KEYS_UNAVAILABLE, reason="jwks_url")

    @property
    def _is_idle(self) -> bool:
        return self._fetching is None or self._fetching.done()

    async def _keep(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.wait([self._fetch_once(session)])
            await asyncio.sleep(self._delay)

    def _fetch_once(self, session: aiohttp.ClientSession) -> "asyncio.Task[None]":
        """Returns the fetch that is running, or a new one."""
        if self._fetching is None or self._is_idle:
            self._settled.clear()
            self._fetching = asyncio.create_task(self._fetch(session))
        return self._fetching

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        try:
            text, max_age = await _get(session, self._url)
            if text != self._text:
                self._learn(text)
        except Exception as error:  # noqa: BLE001 - whatever an issuer does: the old keys are kept
            self._fail(error)
            return
        self._failures, self.has_keys = 0, True
        self._delay = min(max(max_age, LEAST_REFRESH), MOST_REFRESH)
        self._settled.set()

    def _learn(self, text: bytes) -> None:
        self._keys = keys = KeySet.parse(text, self._algorithms)
        self._take(keys)
        self._text = text
        log.info("jwks_fetched", url=self._place, keys=len(keys))

    def _fail(self, error: Exception) -> None:
        """Schedule a retry. Requests that wait for the very first keys go on waiting."""
        self._delay = min(FIRST_RETRY * 2.0 ** min(self._failures, 9), LAST_RETRY)
        self._failures += 1
        if self.has_keys:
            self._settled.set()
        text = str(error) or type(error).__name__
        log.warning(
            "jwks_fetch_failed",
            url=self._place,
            error=text,
            retry_in_s=self._delay,
            has_keys=self.has_keys,
        )


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[bytes, float]:
    """Returns the body of a 200, and the seconds for which it is fresh. Raises ValueError.

    A redirect is not followed, because the operator named the place of the keys.
    """
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:  # noqa: PLR2004 - HTTPStatus.OK
            raise ValueError(f"it answered {response.status}")
        text = b""
        async for data in response.content.iter_any():
            text += data
            if len(text) > MAX_SIZE:
                raise ValueError(f"it answered with more than {MAX_SIZE} bytes")
        found = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
        return text, float(found[1]) if found else REFRESH
