"""The keys of an issuer, fetched over HTTP: kept while it is away, and looked at again in time.

One fetch is under way at a time, whoever asked for it, and no request waits for one whose token is
signed with a key that is known.
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
# After a failure: twice as long each time.
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
# Between two fetches for the sake of a token that names an unknown key, which anyone can make up.
PAUSE = 10.0
WAIT = 3.0  # for a request, in seconds

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:[\s,]|$)", re.IGNORECASE)


# The addresses of a name: each a number, and its family.
Addresses = Callable[[str], Awaitable[Sequence[Address]]]


class _Names(AbstractResolver):
    """Gives aiohttp's client the addresses that the gateway knows."""

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
        """Called by aiohttp. The names are not its own."""


class KeyFetcher:
    """Fetches the key set at a URL, and hands each new one to `take`."""

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        take: Callable[[KeySet], None],
        addresses: Addresses | None = None,
    ) -> None:
        """`addresses` gives those of the URL's host; without it the event loop looks them up."""
        self.has_keys = False
        self._addresses = addresses
        self._url, self._algorithms, self._take = url, algorithms, take
        self._place = str(URL(url).with_user(None).with_query(None))  # either may hold a secret
        self._text = b""
        self._keys: KeySet | None = None
        self._failures = 0  # since it last answered
        self._delay = 0.0
        self._next_ask = 0.0
        self._settled = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch, now and again, until `close`. Once begun it goes on."""
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
        """Hand the keys to another from now on, at once those that there are."""
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
        """Wait for a fetch, for a token whose key is not known; then the key may be.

        Raises Refusal KEYS_UNAVAILABLE where the issuer has not answered: who is to know then?
        """
        now = asyncio.get_running_loop().time()
        if self._session is not None and now >= self._next_ask:
            self._next_ask = now + PAUSE
            self._fetch_once(self._session)
        try:
            async with asyncio.timeout(WAIT):
                await self._settled.wait()
        except TimeoutError:
            raise Rejection(KEYS_UNAVAILABLE, reason="jwks_url") from None
        if self._failures:
            raise Rejection(KEYS_UNAVAILABLE, reason="jwks_url")

    async def _keep(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.wait([self._fetch_once(session)])
            await asyncio.sleep(self._delay)

    def _fetch_once(self, session: aiohttp.ClientSession) -> "asyncio.Task[None]":
        """The fetch that is under way, or a new one."""
        if self._fetching is None or self._fetching.done():
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
        """Try again soon. Who waits for the very first keys goes on to wait."""
        self._delay = min(FIRST_RETRY * 2.0 ** min(self._failures, 9), LAST_RETRY)
        self._failures += 1
        if self.has_keys:
            self._settled.set()
        told = str(error) or type(error).__name__
        log.warning(
            "jwks_fetch_failed",
            url=self._place,
            error=told,
            retry_in_s=self._delay,
            has_keys=self.has_keys,
        )


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[bytes, float]:
    """The body of a 200, and for how many seconds it is fresh. Raises ValueError, with the fault.

    A redirect is not followed: the keys are where the operator said, or nowhere.
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
