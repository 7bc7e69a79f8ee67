"""The token endpoint gives a stream token for a path that one is good for, and says what else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config.model import Auth, Config, Kind, Route, Segment, Upstream
from gateway.endpoints import stream_token
from gateway.endpoints.stream_token import MAX_BODY
from gateway.runtime.settings import Settings
from gateway.runtime.single_process import SingleProcess
from tests.support.raw_client import RawClient, Response
from tests.support.tokens import SECRET, token

ENDPOINT = "/auth/stream-token"
PLACE = Upstream("", "http", "127.0.0.1", 1)
Ask = Callable[..., Awaitable[Response]]


def route(path: str, **more: Any) -> Route:
    segments = tuple(
        Segment(Kind.PARAMETER, "id") if part == "{id}" else Segment(Kind.LITERAL, part)
        for part in path[1:].split("/")
    )
    return Route(path, segments, PLACE, **more)


ROUTES = (
    route("/jobs/{id}/stream", methods=frozenset({"GET", "HEAD"})),
    route("/jobs", methods=frozenset({"POST"})),
    route("/scoped", scopes=("jobs:read",)),
    route("/open", auth_required=False),
)


@pytest.fixture
async def client() -> AsyncIterator[RawClient]:
    config = Config(ROUTES, Auth(secret=SECRET, token_endpoint=ENDPOINT))
    gateway = SingleProcess(config, Settings("127.0.0.1", 0, 0))
    with capture_logs():
        task = asyncio.create_task(gateway.run())
        async with asyncio.timeout(10):
            await gateway.started.wait()
        client = await RawClient.connect(gateway.port)
        yield client
        client.close()
        gateway.stop()
        await task


async def ask(client: RawClient, body: bytes, *headers: str, **claims: Any) -> Response:
    bearer = f"Authorization: Bearer {token(**claims)}"
    return await client.fetch(ENDPOINT, bearer, *headers, method="POST", body=body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"path": "/jobs/7/stream"}',
        b' {"path":"/jobs//%37/stream"} \n',
        '{"path": "/jobs/ü/stream"}'.encode(),
        b'{"path": "/jobs/\\u00fc/stream"}',
    ],
)
async def test_a_token_is_given_for_a_path_that_a_route_has(client: RawClient, body: bytes) -> None:
    got = await ask(client, body)
    assert got.status == 200
    assert got.json().keys() == {"token", "expires_in"}
    assert got.json()["expires_in"] == 60
    assert got.value("Cache-Control") == "no-store"
    assert got.value("Content-Type") == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"path=/jobs/7/stream",
        b"\xff\xfe",
        b"[" * 8000,
        b"[]",
        b"7",
        b"{}",
        b'{"path": 7}',
        b'{"path": null}',
        b'{"path": ["/jobs/7/stream"]}',
        b'{"path": "/jobs/7/stream", "ttl": 3600}',
        b'{"Path": "/jobs/7/stream"}',
    ],
)
async def test_another_body_is_a_400_that_shows_the_right_one(
    client: RawClient, body: bytes
) -> None:
    got = await ask(client, body)
    assert (got.status, got.json()["code"]) == (400, "bad_request")
    assert '{"path": "/jobs/stream"}' in got.json()["detail"]


@pytest.mark.parametrize(
    ("path", "reported"),
    [
        ("/nowhere", "No GET route matches this path"),
        ("/jobs", "No GET route matches this path"),
        ("/jobs/7/stream/", "No GET route matches this path"),
        ("", "must be a path that starts with a slash"),
        ("https://gateway.test/jobs/7/stream", "must be a path that starts with a slash"),
        ("/jobs/7/stream?a=1", "remove all from the '?' on"),
        ("/jobs/../stream", "a '.' or '..' segment"),
        ("/jobs/%2e%2e/stream", "a '.' or '..' segment"),
        ("/open", "needs no token"),
        (ENDPOINT, "No GET route matches this path"),
        ("/healthz", "No GET route matches this path"),
    ],
)
async def test_a_path_that_takes_no_token_is_a_400_that_says_why(
    client: RawClient, path: str, reported: str
) -> None:
    got = await ask(client, b'{"path": "%b"}' % path.encode())
    assert (got.status, got.json()["code"]) == (400, "bad_request")
    assert reported in got.json()["detail"]


async def test_a_scope_that_the_route_asks_for_is_asked_for_here(client: RawClient) -> None:
    got = await ask(client, b'{"path": "/scoped"}')
    assert (got.status, got.json()["code"]) == (403, "scope_missing")
    assert (await ask(client, b'{"path": "/scoped"}', scope="jobs:read")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"])
async def test_another_method_is_a_405_that_names_the_right_one(
    client: RawClient, method: str
) -> None:
    got = await client.fetch(ENDPOINT, f"Authorization: Bearer {token()}", method=method)
    assert (got.status, got.value("Allow")) == (405, "POST")


async def test_a_body_that_is_announced_too_large_is_a_413(client: RawClient) -> None:
    got = await ask(client, b" " * (MAX_BODY + 1))
    assert (got.status, got.json()["code"]) == (413, "body_too_large")


CHUNKED = "Transfer-Encoding: chunked"


async def test_a_body_that_grows_too_large_is_a_413(client: RawClient) -> None:
    bearer = f"Authorization: Bearer {token()}"
    await client.request(ENDPOINT, bearer, CHUNKED, method="POST")
    await client.send(b"%x\r\n%b\r\n" % (MAX_BODY + 1, b" " * (MAX_BODY + 1)))
    assert (await client.head()).status == 413


async def test_a_body_in_parts_is_read_whole(client: RawClient) -> None:
    bearer = f"Authorization: Bearer {token()}"
    await client.request(ENDPOINT, bearer, CHUNKED, "Expect: 100-continue", method="POST")
    assert (await client.next_head()).status == 100
    for part in (b'{"path": ', b'"/jobs/7/stream"}'):
        await client.send(b"%x\r\n%b\r\n" % (len(part), part))
    await client.send(b"0\r\n\r\n")
    assert (await client.head()).status == 200


async def test_a_body_that_stops_coming_is_a_400(
    client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_token, "BODY_TIMEOUT", 0.05)
    await client.request(ENDPOINT, f"Authorization: Bearer {token()}", CHUNKED, method="POST")
    await client.head()
    got = await client.rest()
    assert (got.status, got.value("Connection")) == (400, "close")
    assert "stopped coming" in got.json()["detail"]
