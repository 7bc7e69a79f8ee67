"""Errors before a response starts: RFC 9457 problems that help, and contain no secrets."""

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.routes import Places, port_of
from tests.support.upstream import Upstream

KEYS = {"type", "title", "status", "detail", "code", "request_id"}


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ("GET /nowhere", 404, "route_not_found"),
        ("GET /", 404, "route_not_found"),
        ("GET /jobs//stream", 404, "route_not_found"),
        ("GET /jobs/a/b/stream", 404, "route_not_found"),
        ("GET /get-only/", 404, "route_not_found"),
        ("POST /get-only", 405, "method_not_allowed"),
        ("PROPFIND /get-only", 405, "method_not_allowed"),
        ("GET /private/x", 401, "token_missing"),
        ("GET /dead/x", 502, "upstream_unreachable"),
    ],
)
async def test_an_error_is_a_problem_that_names_its_request(
    gateway: GatewayProcess, client: RawClient, asked: str, status: int, code: str
) -> None:
    method, target = asked.split()
    got = await client.fetch(target, method=method)
    assert got.status == status
    assert got.value("Content-Type") == "application/problem+json"
    problem = got.json()
    assert problem.keys() == KEYS
    assert (problem["status"], problem["code"]) == (status, code)
    assert got.value("X-Request-Id") == problem["request_id"]
    line = await gateway.request_line(request_id=problem["request_id"])
    assert (line["status"], line["method"], line["path"]) == (status, method, target)


async def test_a_rejected_method_gets_the_allowed_ones(client: RawClient) -> None:
    got = await client.fetch("/get-only", method="DELETE")
    assert {method.strip() for method in (got.value("Allow") or "").split(",")} == {"GET", "HEAD"}


async def test_head_comes_with_get(upstream: Upstream, client: RawClient) -> None:
    assert (await client.fetch("/get-only", method="HEAD")).status == 200


async def test_an_error_to_head_has_no_body(client: RawClient) -> None:
    for _ in range(2):
        assert (await client.fetch("/nowhere", method="HEAD")).status == 404


async def test_no_error_says_where_the_upstream_is(client: RawClient, places: Places) -> None:
    got = await client.fetch("/dead/x")
    everything = repr(got.headers) + got.body.decode()
    assert str(port_of(places.dead)) not in everything
    assert "Traceback" not in everything


async def test_an_error_says_nothing_of_the_server_software(client: RawClient) -> None:
    got = await client.fetch("/nowhere")
    assert "aiohttp" not in repr(got.headers).lower()
    assert "python" not in repr(got.headers).lower()


async def test_the_connection_serves_on_after_errors(upstream: Upstream, client: RawClient) -> None:
    for target in ("/nowhere", "/private/x", "/dead/x"):
        assert (await client.fetch(target)).status >= 400
    assert (await client.fetch("/open/x")).status == 200


@pytest.mark.parametrize("size", [20_000, 30_000])
async def test_large_heads_within_the_limit_pass(
    upstream: Upstream, client: RawClient, size: int
) -> None:
    assert (await client.fetch("/open/x", f"X-Large: {'x' * size}")).status == 200
    assert (await client.fetch(f"/open/x?q={'x' * size}")).status == 200


async def test_a_header_over_the_limit_is_a_431(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch("/open/x", f"X-Large: {'x' * 40_000}")
    assert (got.status, got.json()["code"]) == (431, "headers_too_large")
    assert upstream.requests == []


async def test_a_target_over_the_limit_is_a_431(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch(f"/open/x?q={'x' * 40_000}")
    assert (got.status, got.json()["code"]) == (431, "headers_too_large")
    assert upstream.requests == []
