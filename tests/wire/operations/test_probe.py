"""`gateway probe` says what stands in the way of a stream, and how to fix it."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from gateway.probe.client import ProbeError, observe, target
from gateway.probe.findings import findings
from gateway.probe.observation import LAST_EVENT_ID
from tests.support.fronts import NGINX_FOR_STREAMS, caddy, free_port, nginx
from tests.support.gateway_process import GatewayProcess, environment, run_gateway
from tests.support.raw_client import Ending
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Upstream, chunk, sends
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
probe: /gateway-probe
auth: {trusted_proxies: [127.0.0.1]}
routes:
- {path: /x, proxy_upstream: $SERVICE}
"""
BEARER = f"Authorization: Bearer {token()}"


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    env = environment(SERVICE="http://127.0.0.1:1")
    gateway = GatewayProcess.serve(ROUTES, tmp_path_factory.mktemp("probed"), env=env)
    yield gateway
    assert gateway.stop() == 0
    assert "eyJ" not in gateway.output


def probe(port: int, *options: str, idle: str = "1s") -> subprocess.CompletedProcess[str]:
    url = f"http://127.0.0.1:{port}"
    return run_gateway("probe", url, "--idle", idle, *options)


def found(port: int, *, idle: str = "1s") -> tuple[set[str], dict[str, Any]]:
    """The codes of the faults, and the whole output."""
    result = probe(port, "--token", token(), "--json", idle=idle)
    words = json.loads(result.stdout)
    faults = {each["code"] for each in words["findings"] if each["fault"]}
    assert result.returncode == (1 if faults else 0)
    assert words["ok"] is not bool(faults)
    return faults, words


def test_straight_to_the_gateway_streams_come_through(probed: GatewayProcess) -> None:
    result = probe(probed.port, "--token", token())
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Streams come through." in result.stdout
    assert "nothing that shows" in result.stdout
    assert "a silence of 1s: passed" in result.stdout
    assert token() not in result.stdout + result.stderr


# proxy_buffering is on by default: it is X-Accel-Buffering that turns it off. What comes
# in chunks nginx passes on all the same; without, as in HTTP/1.0, it waits until a buffer is full.
BUFFERS = (
    NGINX_FOR_STREAMS.replace("proxy_http_version 1.1", "proxy_http_version 1.0")
    + """
  proxy_ignore_headers X-Accel-Buffering;
  proxy_set_header Last-Event-ID "";
  proxy_set_header Authorization "";
  proxy_hide_header Cache-Control;
"""
)
STRIPS = NGINX_FOR_STREAMS + 'set $args ""; proxy_set_header Origin "";'
COMPRESSES = NGINX_FOR_STREAMS + "gzip on; gzip_types *; gzip_proxied any;"
CUTS = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 1s;'
# A hop that waits for more than a head can still answer by itself.
ANSWERS = NGINX_FOR_STREAMS + "if ($args ~ silence=[1-9]) { return 504; }"


SETTINGS = {
    "documented": (NGINX_FOR_STREAMS, set[str]()),
    "buffers": (
        BUFFERS,
        {
            "buffers",
            "http_1_0",
            "drops_last_event_id",
            "strips_request_header",
            "rewrites_response_header",
        },
    ),
    "compresses": (COMPRESSES, {"compresses"}),
    "strips": (STRIPS, {"strips_query", "strips_request_header"}),
    "cuts": (CUTS, {"cuts_idle", "no_client_address"}),
    # Without framing what was cut looks as if it had ended.
    "cuts unframed": (
        f"{CUTS} chunked_transfer_encoding off;",
        {"cuts_idle", "no_client_address", "unframed"},
    ),
    "answers": (ANSWERS, {"cuts_idle"}),
}


@pytest.fixture(scope="module")
def reported(
    probed: GatewayProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[set[str], dict[str, Any]]]:
    """What was found behind each front, some of them beside each other: it is much waiting."""

    def one(settings: str) -> tuple[set[str], dict[str, Any]]:
        with nginx(tmp_path_factory.mktemp("front"), [probed.port], settings) as port:
            return found(port, idle="1500ms")

    with ThreadPoolExecutor(4) as pool:
        results = pool.map(one, [settings for settings, _ in SETTINGS.values()])
        return dict(zip(SETTINGS, results, strict=True))


def test_behind_nginx_as_documented_streams_come_through(
    reported: dict[str, tuple[set[str], dict[str, Any]]],
) -> None:
    faults, words = reported["documented"]
    assert faults == set()
    assert words["in_front"].startswith("nginx")


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "documented"])
def test_a_setting_of_nginx_that_harms_streams_is_found_and_its_fix_works(
    reported: dict[str, tuple[set[str], dict[str, Any]]], name: str
) -> None:
    faults, words = reported[name]
    assert faults == SETTINGS[name][1]
    findings = words["findings"]
    assert all("nginx" in each["remedies"] for each in findings if each["fault"])
    held = "".join(each["text"] for each in findings if each["code"] == "buffers")
    assert ("KB of them had come together" in held) is (name == "buffers")


def test_what_is_compressed_unasked_is_read_all_the_same(
    probed: GatewayProcess, tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    asks = NGINX_FOR_STREAMS + "proxy_set_header Accept-Encoding gzip;"
    with (
        nginx(tmp_path / "inner", [probed.port], COMPRESSES) as inner,
        nginx(tmp_path, [inner], asks.replace("$proxy_add_x_forwarded_for", '""')) as port,
    ):
        faults, words = found(port)
    assert faults == {"compresses"}
    assert "although none was asked for" in words["findings"][0]["text"]


def test_the_token_goes_where_the_gateway_looks_for_it(start_gateway: StartGateway) -> None:
    gateways = [
        start_gateway(ROUTES.replace("auth: {", f"auth: {{{auth}, "))
        for auth in ("query: false", "query: access")
    ]
    with ThreadPoolExecutor(len(gateways)) as pool:
        for faults, _ in pool.map(found, [gateway.port for gateway in gateways]):
            assert faults == set()


def test_over_tls_it_reports_http_2_and_a_certificate_that_is_not_trusted(
    probed: GatewayProcess, tls: tuple[Path, ssl.SSLContext], tmp_path: Path
) -> None:
    authority, _ = tls
    trusting = environment(SSL_CERT_FILE=str(authority))
    with caddy(tmp_path, [probed.port], authority.with_name("localhost.pem")) as port:
        command = ("probe", f"https://localhost:{port}", "--token", token(), "--idle", "1s")
        untrusted, trusted = run_gateway(*command), run_gateway(*command, env=trusting)
    assert (untrusted.returncode, trusted.returncode) == (1, 0)
    assert "browsers will not trust its certificate: unable to get" in untrusted.stderr
    assert "six" not in trusted.stdout


def test_a_front_that_is_not_trusted_is_reported(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = start_gateway(ROUTES.replace("127.0.0.1]", "10.0.0.0/8]"))
    with nginx(tmp_path, [gateway.port]) as port:
        faults, _ = found(port)
    assert faults == {"untrusted_front"}


def test_a_gateway_without_a_test_stream_is_reported_as_that(start_gateway: StartGateway) -> None:
    gateway = start_gateway("- {path: /x, proxy_upstream: $SERVICE}\n")
    result = probe(gateway.port, "--token", token())
    assert result.returncode == 1
    assert "add `probe: /gateway-probe` to its routes.yaml" in result.stderr


def test_what_keeps_it_from_seeing_anything_is_one_line(
    probed: GatewayProcess, tmp_path: Path
) -> None:
    with nginx(tmp_path, [probed.port], "return 301 https://example.org$request_uri;") as port:
        redirected = probe(port, "--token", token())
    assert token() not in redirected.stderr
    for result, cause in (
        (probe(probed.port), "--token"),
        (probe(probed.port, "--token", token(ttl=-3600)), "expired"),
        (probe(free_port()), "cannot connect"),
        (probe(probed.ops_port), "not from a gateway's test stream"),
        (redirected, "https://example.org/gateway-probe: probe that"),
        (probe(probed.port, "--token", token(), idle="900s"), "at most"),
        (run_gateway("probe", "ftp://example.org"), "https://example.org"),
    ):
        assert result.returncode == 1
        [line] = [line for line in result.stderr.splitlines() if line.startswith("gateway: ")]
        assert cause in line
        assert "Traceback" not in result.stderr


async def test_a_stream_that_a_hop_ends_in_order_before_its_time_was_cut(
    service: Upstream,
) -> None:
    hello = {
        "gateway": "probe",
        "version": "1.1",
        "saw": {"accept": "text/event-stream", "last-event-id": LAST_EVENT_ID, "origin": "x"},
    }
    begun = EVENT_STREAM.replace(b"\r\n\r\n", b"\r\nCache-Control: no-cache\r\n\r\n")
    event = b"data: %b\n\n" % json.dumps(hello).encode()
    service.script = sends(begun + chunk(event) + LAST_CHUNK)
    seen = await observe(URL(f"http://127.0.0.1:{service.port}/"), None, 1.0)
    assert {finding.code for finding in findings(seen) if finding.is_fault} == {"cuts"}


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:99999/?token=secret",
        "ftp://example.org/?token=secret",
        "https://ada:secret@example.org",
    ],
)
def test_an_address_that_cannot_be_probed_is_reported_without_its_secret(text: str) -> None:
    with pytest.raises(ProbeError) as reported:
        target(text)
    assert "secret" not in str(reported.value)


def test_a_bare_origin_has_the_usual_path_and_keeps_its_token() -> None:
    assert str(target("https://example.org")) == "https://example.org/gateway-probe"
    assert (
        str(target("https://example.org/?token=x")) == "https://example.org/gateway-probe?token=x"
    )
    assert str(target("https://example.org/p?token=x#y")) == "https://example.org/p?token=x"


def answer(status: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, length, b"", body])


def event_stream(**hello: object) -> bytes:
    event = b"data: %b\n\n" % json.dumps({"gateway": "probe", "saw": {}, **hello}).encode()
    return EVENT_STREAM + chunk(event) + LAST_CHUNK


NOT_OURS = "200 from a hop, and not from a gateway's test stream"


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (answer(b"302 Found", b"Location: /login?token=secret"), "/login: probe that"),
        (answer(b"302 Found", b"Location: http://[secret"), "302, which leads nowhere"),
        (answer(b"302 Found"), "302, which leads nowhere"),
        (answer(b"502 Bad Gateway", b"Server: edge"), "502 from edge, which does not reach"),
        (answer(b"404 Not Found", b"Server: edge"), "404 from edge, and not from a gateway"),
        (answer(b"200 OK", body=bytes(3 * 1024**2)), NOT_OURS),
        (event_stream(at="noon"), NOT_OURS),
        (event_stream(saw=3), NOT_OURS),
        (event_stream(saw={"accept": 3}), NOT_OURS),
        (event_stream(events="many"), NOT_OURS),
        (event_stream(query=3), NOT_OURS),
    ],
)
async def test_what_is_not_a_test_stream_is_reported_without_the_token(
    service: Upstream, response: bytes, cause: str
) -> None:
    service.script = sends(response)
    url = target(f"http://127.0.0.1:{service.port}/?token=secret")
    with pytest.raises(ProbeError) as reported:
        await observe(url, None, 1.0)
    assert cause in str(reported.value)
    assert "secret" not in str(reported.value)


@pytest.mark.parametrize("token", ["", " \n", "a b", "a\r\nb", "\N{SNOWMAN}"])
async def test_a_token_that_cannot_be_one_is_reported(token: str) -> None:
    with pytest.raises(ProbeError, match="--token: "):
        await observe(URL("http://127.0.0.1:1/"), token, 1.0)


async def test_a_port_without_tls_is_reported(probed: GatewayProcess) -> None:
    with pytest.raises(ProbeError, match="no TLS on this port: try http://"):
        await observe(URL(f"https://127.0.0.1:{probed.port}/"), None, 1.0)


# The stream itself


@pytest.mark.parametrize(
    "query",
    ["events=0", "events=x", "silence=601", "silence=nan", "interval=-1", "padding=4801"],
)
async def test_a_test_stream_past_its_bounds_is_refused(
    probed: GatewayProcess, connect: Connect, query: str
) -> None:
    client = await connect(probed.port)
    await client.request(f"/gateway-probe?{query}", BEARER)
    assert (await client.head()).status == 400
    assert (await client.rest()).json()["code"] == "bad_request"


async def test_a_test_stream_takes_get_and_a_token(
    probed: GatewayProcess, connect: Connect
) -> None:
    client = await connect(probed.port)
    await client.request("/gateway-probe", BEARER, method="POST")
    head = await client.head()
    assert (head.status, head.value("Allow")) == (405, "GET")
    await client.rest()
    client = await connect(probed.port)
    await client.request("/gateway-probe")
    assert (await client.head()).status == 401


async def test_test_streams_are_few_and_end_with_a_drain(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = start_gateway(ROUTES, "--drain-timeout", "0s")
    clients = [await connect(gateway.port) for _ in range(17)]
    statuses = []
    for client in clients:
        await client.request("/gateway-probe?silence=500", BEARER)
        statuses.append((await client.head()).status)
    assert statuses == [200] * 16 + [429]
    assert gateway.stop() == 0
    for client in clients[:16]:
        await client.rest()
    lines = gateway.request_lines(route="/gateway-probe", status=200)
    assert {line["end_reason"] for line in lines} == {"drained"}
    assert len(lines) == 16


async def test_a_test_stream_whose_reader_leaves_is_over(
    probed: GatewayProcess, connect: Connect
) -> None:
    client = await connect(probed.port)
    await client.request("/gateway-probe?silence=500", BEARER, "X-Request-Id: left-the-probe")
    await client.head()
    client.close()
    line = await probed.request_line(request_id="left-the-probe")
    assert line["end_reason"] == "client_closed"


async def test_without_a_key_it_asks_for_no_token(
    start_gateway: StartGateway, connect: Connect
) -> None:
    routes = "probe: /p\nroutes:\n- {path: /x, proxy_upstream: $SERVICE, auth_required: false}\n"
    gateway = start_gateway(routes, GATEWAY_JWT_SECRET="")
    client = await connect(gateway.port)
    await client.request("/p?events=1&interval=0")
    assert (await client.head()).status == 200
    response = await client.rest()
    assert response.ending is Ending.CLEAN
    assert bytes(response.body).count(b"data: ") == 2
