"""Keys are fetched beside the requests, and what an issuer does wrong leaves the old ones."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.auth import key_fetcher
from gateway.auth.key_fetcher import LEAST_REFRESH, MAX_SIZE, MOST_REFRESH, REFRESH, KeyFetcher
from gateway.auth.keys import Keys
from gateway.http import errors
from gateway.http.errors import Rejection
from tests.support.key_issuer import Key, KeyIssuer, key_set

KEY, OTHER = Key("one"), Key("other")
PATIENCE = 15.0
Line = MutableMapping[str, Any]


@pytest.fixture
async def remote() -> AsyncIterator[KeyIssuer]:
    remote = KeyIssuer()
    remote.text = key_set(KEY)
    await remote.start()
    yield remote
    remote.is_free.set()
    await remote.stop()


class Watched(KeyFetcher):
    """An issuer with the sets that it handed on, and the lines that it logged."""

    def __init__(self, url: str) -> None:
        self.sets = list[Keys]()
        super().__init__(url, ["ES256"], self.sets.append)
        self.lines: list[Line] = []


@pytest.fixture
async def keys(remote: KeyIssuer) -> AsyncIterator[Watched]:
    keys = Watched(remote.url)
    with capture_logs() as keys.lines:
        yield keys
        await keys.close()


async def reported(keys: Watched, event: str, times: int = 1) -> Line:
    """Wait for a line of this event."""
    async with asyncio.timeout(PATIENCE):
        while len(found := [line for line in keys.lines if line["event"] == event]) < times:
            if keys._fetching is not None and not keys._fetching.done():
                await asyncio.wait([keys._fetching])
            await asyncio.sleep(0)  # until the next one has begun
    return found[-1]


async def refusal(keys: KeyFetcher) -> Rejection:
    with pytest.raises(Rejection) as caught:
        await keys.refetch_keys()
    return caught.value


async def test_keys_are_fetched_at_the_start_without_being_waited_for(
    remote: KeyIssuer, keys: Watched
) -> None:
    remote.is_free.clear()
    keys.start()
    await remote.until_fetched(1)
    assert not keys.has_keys
    remote.is_free.set()
    assert (await reported(keys, "jwks_fetched"))["keys"] == 1
    assert keys.has_keys
    assert keys.sets[0].find("ES256", "one")


async def test_a_fetch_asks_for_no_more_than_it_needs(remote: KeyIssuer, keys: Watched) -> None:
    remote.headers = {"Set-Cookie": "a=1"}
    keys.start()
    await reported(keys, "jwks_fetched")
    keys._next_ask = 0
    await keys.refetch_keys()
    assert [headers.get("Cookie") for headers in remote.fetches] == [None, None]
    assert {headers["User-Agent"] for headers in remote.fetches} == {"gateway"}


@pytest.mark.parametrize(
    ("header", "delay"),
    [
        (None, REFRESH),
        ("max-age=300", 300),
        ("public, Max-Age=300, must-revalidate", 300),
        ("max-age=0", LEAST_REFRESH),
        ("max-age=999999999", MOST_REFRESH),
        ("max-age=soon", REFRESH),
        ("s-maxage=300, x-max-age=1", REFRESH),
        ("no-store", REFRESH),
    ],
)
async def test_the_next_fetch_is_when_the_issuer_says_within_bounds(
    remote: KeyIssuer, keys: Watched, header: str | None, delay: float
) -> None:
    remote.headers = {} if header is None else {"Cache-Control": header}
    keys.start()
    await reported(keys, "jwks_fetched")
    assert keys._delay == delay


async def test_keys_are_fetched_again_in_the_background(
    remote: KeyIssuer, keys: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetcher, "REFRESH", 0.02)
    monkeypatch.setattr(key_fetcher, "LEAST_REFRESH", 0.02)
    keys.start()
    await reported(keys, "jwks_fetched")
    remote.text = key_set(OTHER)
    await reported(keys, "jwks_fetched", 2)
    assert keys.sets[-1].find("ES256", "other")
    await remote.until_fetched(len(remote.fetches) + 3)
    assert len(keys.sets) == 2, "a set that is as it was is no news"


async def test_all_who_look_for_a_key_at_once_share_one_fetch(
    remote: KeyIssuer, keys: Watched
) -> None:
    keys.start()
    await reported(keys, "jwks_fetched")
    remote.text = key_set(KEY, OTHER)
    remote.is_free.clear()
    looking = [asyncio.create_task(keys.refetch_keys()) for _ in range(50)]
    await remote.until_fetched(2)
    remote.is_free.set()
    await asyncio.gather(*looking)
    assert len(remote.fetches) == 2
    assert keys.sets[-1].find("ES256", "other")


async def test_who_waits_for_the_first_keys_leaves_the_next_fetch_to_others(
    remote: KeyIssuer, keys: Watched
) -> None:
    remote.is_free.clear()
    keys.start()
    waiting = asyncio.create_task(keys.refetch_keys())
    await remote.until_fetched(1)
    remote.is_free.set()
    await waiting
    remote.text = key_set(KEY, OTHER)
    await keys.refetch_keys()
    assert keys.sets[-1].find("ES256", "other")


async def test_who_looks_for_keys_that_nobody_has_causes_few_fetches(
    remote: KeyIssuer, keys: Watched
) -> None:
    keys.start()
    await reported(keys, "jwks_fetched")
    for _ in range(100):
        await keys.refetch_keys()
    assert len(remote.fetches) == 2


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        (b"<html>", 200, "it is not JSON"),
        (key_set(), 200, "no key in it can verify ES256"),
        (b" " * MAX_SIZE + key_set(OTHER), 200, f"more than {MAX_SIZE} bytes"),
        (key_set(OTHER), 500, "it answered 500"),
        (key_set(OTHER), 302, "it answered 302"),
        (key_set(OTHER), 203, "it answered 203"),
    ],
)
async def test_an_invalid_answer_leaves_the_old_keys_and_is_logged(
    remote: KeyIssuer, keys: Watched, text: bytes, status: int, error: str
) -> None:
    keys.start()
    await reported(keys, "jwks_fetched")
    remote.text, remote.status = text, status
    remote.headers = {"Location": remote.url + "?again"}
    assert (await refusal(keys)).failure is errors.KEYS_UNAVAILABLE
    line = await reported(keys, "jwks_fetch_failed")
    assert error in line["error"]
    assert (line["retry_in_s"], line["has_keys"], line["log_level"]) == (1.0, True, "warning")
    assert line["url"] == remote.url
    assert (len(keys.sets), keys.has_keys, len(remote.fetches)) == (1, True, 2)


async def test_an_issuer_that_hangs_holds_a_request_for_a_bounded_time(
    remote: KeyIssuer, keys: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetcher, "WAIT", 0.05)
    remote.is_free.clear()
    keys.start()
    assert (await refusal(keys)).failure is errors.KEYS_UNAVAILABLE
    assert not keys.has_keys


async def test_a_fetch_that_hangs_ends_in_time(
    remote: KeyIssuer, keys: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetcher, "TIMEOUT", 0.05)
    remote.is_free.clear()
    keys.start()
    await reported(keys, "jwks_fetch_failed")


async def test_who_waits_for_the_first_keys_gets_them_though_the_first_fetch_failed(
    remote: KeyIssuer, keys: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetcher, "FIRST_RETRY", 0.05)
    remote.status = 503
    keys.start()
    await reported(keys, "jwks_fetch_failed")
    looking = asyncio.create_task(keys.refetch_keys())
    remote.status = 200
    await looking
    assert keys.has_keys


async def test_it_is_asked_less_and_less_while_it_is_away(
    remote: KeyIssuer, keys: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_fetcher, "FIRST_RETRY", 0.002)
    monkeypatch.setattr(key_fetcher, "LAST_RETRY", 0.007)
    await remote.stop()
    keys.start()
    await reported(keys, "jwks_fetch_failed", 4)
    await remote.start()
    await reported(keys, "jwks_fetched")
    failed = [line for line in keys.lines if line["event"] == "jwks_fetch_failed"]
    assert [line["retry_in_s"] for line in failed[:4]] == [0.002, 0.004, 0.007, 0.007]
    assert not failed[0]["has_keys"]
    await keys.refetch_keys()


async def test_one_that_was_never_started_has_nothing_to_close() -> None:
    await KeyFetcher("http://127.0.0.1:1/", ["ES256"], lambda _: None).close()
