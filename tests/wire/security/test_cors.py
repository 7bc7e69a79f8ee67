"""Pages of other origins: what they may send and read, as the Fetch standard has browsers ask."""

from collections.abc import Iterator

import pytest

from tests.support.gateway_process import GatewayProcess, environment, run_gateway
from tests.support.raw_client import Ending, RawClient, Response
from tests.support.routes import Places, port_of
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk, never_answers
from tests.wire.conftest import Connect

APP = "https://app.example"
ORIGIN = f"Origin: {APP}"
FOREIGN = "Origin: https://evil.test"

ROUTES = """\
cors:
  origins: [$PAGES, "https://*.team.example"]
  credentials: true
defaults:
  proxy_upstream: http://127.0.0.1:{service}
routes:
- path: /jobs
  method: GET
- path: /jobs
  method: PUT
  auth_required: false
  cors: {{origins: "https://put.example", headers: [X-A], max_age: 1h}}
- path: /open
  auth_required: false
- path: /own
  auth_required: false
  cors: none
- path: /public
  auth_required: false
  cors: {{origins: "*"}}
- path: /small
  auth_required: false
  max_body: 1KiB
- path: /cookie
  cors: {{origins: $PAGES}}
- path: /dead
  auth_required: false
  proxy_upstream: http://127.0.0.1:{dead}
- path: /late
  auth_required: false
  first_byte_timeout: 200ms
"""


@pytest.fixture(scope="module")
def site(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    routes = ROUTES.format(service=port_of(places.service), dead=port_of(places.dead))
    env = environment(PAGES=f"{APP}, http://localhost:3000")
    gateway = GatewayProcess.serve(routes, tmp_path_factory.mktemp("cors"), env=env)
    yield gateway
    assert gateway.stop() == 0, gateway.output
    assert gateway.error_output == ""


@pytest.fixture
async def page(site: GatewayProcess, connect: Connect) -> RawClient:
    """One connection to the gateway that has a gateway-wide section."""
    return await connect(site.port)


async def preflight(client: RawClient, target: str, *headers: str, method: str) -> Response:
    asked = f"Access-Control-Request-Method: {method}"
    return await client.fetch(target, asked, *headers, method="OPTIONS")


def is_readable(response: Response, origin: str = APP) -> bool:
    """Whether a browser lets a page of this origin read it that sent credentials."""
    return (
        response.value("Access-Control-Allow-Origin") == origin
        and response.value("Access-Control-Allow-Credentials") == "true"
    )


def varies(response: Response) -> list[str]:
    values = b",".join(response.values("Vary")).decode()
    return [item.strip() for item in values.split(",") if item.strip()]


async def test_a_preflight_is_answered_without_a_token_and_without_the_service(
    site: GatewayProcess, page: RawClient, upstream: Upstream
) -> None:
    asked = "Access-Control-Request-Headers: authorization,x-b"
    got = await preflight(page, "/jobs", ORIGIN, asked, method="GET")
    assert (got.status, bytes(got.body), got.ending) == (204, b"", Ending.CLEAN)
    assert is_readable(got)
    assert got.value("Access-Control-Allow-Methods") == "GET, HEAD"
    assert got.value("Access-Control-Allow-Headers") == "authorization,x-b"
    assert got.value("Access-Control-Max-Age") == "600"
    names = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]
    assert sorted(varies(got)) == sorted(names)
    assert got.value("Content-Type") is None
    assert upstream.requests == []
    line = await site.request_line(request_id=got.value("X-Request-Id"))
    assert (line["route"], line["method"], line["status"]) == ("/jobs", "OPTIONS", 204)
    assert line["end_reason"] == "complete"
    assert (await page.fetch("/open")).status == 200


async def test_a_preflight_is_about_the_route_of_the_method_it_asks_for(
    page: RawClient, upstream: Upstream
) -> None:
    put = "https://put.example"
    got = await preflight(page, "/jobs", f"Origin: {put}", method="PUT")
    assert (got.status, got.value("Access-Control-Allow-Origin")) == (204, put)
    assert got.value("Access-Control-Allow-Credentials") is None
    assert got.value("Access-Control-Allow-Methods") == "PUT"
    assert got.value("Access-Control-Allow-Headers") == "X-A"
    assert got.value("Access-Control-Max-Age") == "3600"
    assert (await preflight(page, "/jobs", f"Origin: {put}", method="GET")).status == 403
    assert (await preflight(page, "/jobs", ORIGIN, method="PUT")).status == 403


async def test_a_route_of_all_methods_lets_a_page_send_the_one_it_asks_for(
    page: RawClient, upstream: Upstream
) -> None:
    for method in ("DELETE", "PROPFIND"):
        got = await preflight(page, "/open", ORIGIN, method=method)
        assert got.value("Access-Control-Allow-Methods") == method
    assert upstream.requests == []


async def test_a_preflight_from_a_foreign_page_is_refused_with_the_reason_in_the_log(
    site: GatewayProcess, page: RawClient, upstream: Upstream
) -> None:
    got = await preflight(page, "/jobs", FOREIGN, method="GET")
    assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert got.value("Access-Control-Allow-Origin") is None
    assert varies(got) == ["Origin"]
    assert upstream.requests == []
    line = await site.request_line(request_id=got.value("X-Request-Id"))
    assert (line["code"], line["route"]) == ("origin_denied", "/jobs")
    assert line["error"] == "cors does not list the origin"


async def test_a_preflight_for_a_method_that_no_route_takes_is_a_405_that_a_page_can_read(
    page: RawClient,
) -> None:
    got = await preflight(page, "/jobs", ORIGIN, method="DELETE")
    assert (got.status, got.json()["code"]) == (405, "method_not_allowed")
    assert is_readable(got)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/own", (ORIGIN, "Access-Control-Request-Method: PUT")),
        ("/open", (ORIGIN,)),
        ("/open", ("Access-Control-Request-Method: PUT",)),
        ("/open", (ORIGIN, "Access-Control-Request-Method:")),
    ],
)
async def test_an_options_request_that_is_no_preflight_of_ours_goes_to_the_service(
    page: RawClient, upstream: Upstream, target: str, headers: tuple[str, ...]
) -> None:
    own = ("Access-Control-Allow-Origin: https://the.service", "X-Own: 1")
    upstream.script = answers(b"", *own)
    got = await page.fetch(target, *headers, method="OPTIONS")
    assert got.value("X-Own") == "1"
    assert upstream.request.method == "OPTIONS"


async def test_a_route_without_cors_leaves_it_to_its_service(
    page: RawClient, upstream: Upstream
) -> None:
    upstream.script = answers(b"", "Access-Control-Allow-Origin: https://a.dev", "Vary: Accept")
    got = await page.fetch("/own", ORIGIN)
    assert got.value("Access-Control-Allow-Origin") == "https://a.dev"
    assert varies(got) == ["Accept"]


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000", "https://a.b.team.example"])
async def test_a_listed_page_reads_the_answer_and_the_services_own_word_is_replaced(
    page: RawClient, upstream: Upstream, origin: str
) -> None:
    upstream.script = answers(
        b"hello",
        "Access-Control-Allow-Origin: *",
        "access-control-allow-headers: *",
        "Vary: Accept-Encoding, origin",
    )
    got = await page.fetch("/open", f"Origin: {origin}")
    assert is_readable(got, origin)
    assert got.value("Access-Control-Allow-Headers") is None
    assert got.value("Access-Control-Expose-Headers") == "Retry-After, X-Request-Id"
    assert varies(got) == ["Accept-Encoding", "origin"]
    assert got.body == b"hello"
    assert upstream.request.value("Origin") == origin


@pytest.mark.parametrize("headers", [(), (FOREIGN,), ("Origin: null",)])
async def test_what_another_origin_gets_is_marked_as_its_own_and_cannot_be_read(
    page: RawClient, upstream: Upstream, headers: tuple[str, ...]
) -> None:
    upstream.script = answers(b"", "Access-Control-Allow-Origin: *", "Vary: Accept")
    got = await page.fetch("/open", *headers)
    assert got.status == 200
    assert got.value("Access-Control-Allow-Origin") is None
    assert varies(got) == ["Accept", "Origin"]


@pytest.mark.parametrize("headers", [(), (FOREIGN,), ("Origin: null",)])
async def test_where_every_origin_may_call_all_get_the_same(
    page: RawClient, upstream: Upstream, headers: tuple[str, ...]
) -> None:
    got = await page.fetch("/public", *headers)
    assert got.value("Access-Control-Allow-Origin") == "*"
    assert got.value("Access-Control-Allow-Credentials") is None
    assert varies(got) == []


async def test_an_event_stream_can_be_read_from_its_first_byte_on(
    page: RawClient, upstream: Upstream
) -> None:
    async def one(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await exchange.until_gone()

    upstream.script = one
    await page.request("/jobs?token=" + token(), ORIGIN)
    assert is_readable(await page.head())
    assert (await page.until(b"data: 1\n\n")).status == 200


@pytest.mark.parametrize("origin", [ORIGIN, FOREIGN])
@pytest.mark.parametrize(
    "refused",
    [
        "GET /jobs 401 token_missing",
        "GET /jobs?token=x 401 token_invalid",
        "GET /dead 502 upstream_unreachable",
        "GET /late 504 upstream_timeout",
        "POST /small 413 body_too_large",
        "GET /nowhere 404 route_not_found",
        "DELETE /jobs 405 method_not_allowed",
        "GET /open/../x 400 bad_request",
        "GET /open?# 400 bad_request",
    ],
)
async def test_a_listed_page_reads_why_it_was_refused_and_a_foreign_one_does_not(
    page: RawClient, upstream: Upstream, refused: str, origin: str
) -> None:
    upstream.script = never_answers
    method, target, status, code = refused.split()
    length = ("Content-Length: 2000",) if method == "POST" else ()
    got = await page.fetch(target, origin, *length, method=method)
    assert (got.status, got.json()["code"]) == (int(status), code)
    assert is_readable(got) == (origin == ORIGIN)
    assert varies(got) == ["Origin"]


async def test_a_route_that_turned_it_off_lets_no_page_read_an_error(
    connect: Connect, site: GatewayProcess
) -> None:
    client = await connect(site.port)
    await client.request("/own", ORIGIN, "Content-Length: 99999999", method="POST")
    got = await client.head("POST")
    assert (got.status, got.value("Access-Control-Allow-Origin"), varies(got)) == (413, None, [])


async def test_a_cookie_serves_a_listed_page_where_credentials_go(
    page: RawClient, upstream: Upstream
) -> None:
    cookie = f"Cookie: gateway_token={token()}"
    got = await page.fetch("/jobs", ORIGIN, cookie)
    assert got.status == 200
    assert is_readable(got)
    for origin in (FOREIGN, "Origin: null", "Origin: https://team.example"):
        got = await page.fetch("/jobs", origin, cookie)
        assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert len(upstream.requests) == 1


async def test_a_cookie_serves_no_listed_page_where_credentials_do_not_go(
    page: RawClient, upstream: Upstream
) -> None:
    got = await page.fetch("/cookie", ORIGIN, f"Cookie: gateway_token={token()}")
    assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert got.value("Access-Control-Allow-Origin") == APP
    assert upstream.requests == []
    assert (await page.fetch(f"/cookie?token={token()}", ORIGIN)).status == 200


async def test_every_origin_with_credentials_keeps_the_gateway_from_starting(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("any") / "routes.yaml"
    file.write_text(
        "cors: {origins: '*', credentials: true}\n"
        "routes: [{path: /, proxy_upstream: http://a, auth_required: false}]\n"
    )
    run = run_gateway("serve", "--routes", str(file))
    assert run.returncode == 1
    assert run.stderr == (
        f"{file}:1:35: browsers send no credentials where every origin may call: "
        "list the origins instead of '*', or say credentials: false\n"
    )
