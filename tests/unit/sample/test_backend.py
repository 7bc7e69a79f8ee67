"""The sample backend, on a real socket and started the way its command starts it."""

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.types import EventDict, WrappedLogger
from yarl import URL

from gateway.sample.backend import running
from gateway.sample.job import Job, work
from gateway.sample.login import Login, publish
from gateway.sample.order import ALLOWED, BadOrderError, Order, parse_order
from gateway.sample.progress import Progress, Status

STREAM = "/api/v1/process/stream"
LogLines = asyncio.Queue[EventDict]

SERVE = """
import asyncio, structlog
from gateway.sample.backend import serve
structlog.configure(processors=[structlog.processors.JSONRenderer()])
asyncio.run(serve("127.0.0.1", 0))
"""


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    lines: LogLines = asyncio.Queue()

    def keep(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        lines.put_nowait(line)
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    yield lines
    structlog.reset_defaults()


@pytest.fixture
def login() -> Login:
    return Login()


@pytest.fixture
async def client(login: Login, log_lines: LogLines) -> AsyncIterator[aiohttp.ClientSession]:
    async with running(login) as url, aiohttp.ClientSession(url) as session:
        yield session


async def line_named(lines: LogLines, event: str) -> EventDict:
    """Wait for the next log line of this name."""
    while (line := await lines.get())["event"] != event:
        pass
    return line


async def next_event(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Wait for one event and decode it; an event here is one data line and a blank line."""
    data = await response.content.readline()
    assert data.startswith(b"data: "), data
    assert await response.content.readline() == b"\n"
    decoded: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
    return decoded


async def events_of(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """Read all that is left of a stream. Raises ClientPayloadError where it was cut."""
    *events, rest = (await response.content.read()).split(b"\n\n")
    assert rest == b""
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


# The stream


async def test_a_job_reports_each_step_and_ends_with_its_result(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    async with client.get(STREAM, params={"steps": "10", "seconds": "0.1"}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        events = await events_of(response)

    assert [event["progress"] for event in events] == list(range(0, 101, 10))
    assert {event["status"] for event in events[:-1]} == {"processing"}
    steps = list(dict.fromkeys(event["step"] for event in events))
    assert steps == ["fetching data", "processing", "saving"]
    assert all("data" not in event for event in events[:-1])
    assert events[-1]["status"] == "completed"
    assert events[-1]["data"] == {"parts": 10, "seconds": 0.1}
    assert (await line_named(log_lines, "job_ended"))["reason"] == "completed"


async def test_a_failing_job_ends_with_an_error_at_the_percent_it_reached(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    query = {"steps": "10", "seconds": "0", "fail": "1"}
    async with client.get(STREAM, params=query) as response:
        events = await events_of(response)

    assert events[-1] == {
        "status": "error",
        "progress": 50,
        "message": "The source of the data closed the connection",
        "step": "processing",
    }
    assert [event["status"] for event in events].count("error") == 1
    assert (await line_named(log_lines, "job_ended"))["reason"] == "error"


async def test_a_report_arrives_while_the_job_still_works(client: aiohttp.ClientSession) -> None:
    async with client.get(STREAM, params={"steps": "1", "seconds": "600"}) as response:
        assert (await next_event(response))["progress"] == 0


async def test_a_job_takes_the_time_of_its_order(client: aiohttp.ClientSession) -> None:
    started = time.monotonic()
    async with client.get(STREAM, params={"steps": "3", "seconds": "0.3"}) as response:
        await events_of(response)
    assert time.monotonic() - started >= 0.3


async def test_the_worker_stops_at_once_when_its_client_leaves_an_idle_stream(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    response = await client.get(STREAM, params={"steps": "1", "seconds": "600"})
    await next_event(response)
    started = await line_named(log_lines, "job_started")

    left = time.monotonic()
    response.close()
    ended = await line_named(log_lines, "job_ended")

    assert time.monotonic() - left < 0.5
    assert ended["job"] == started["job"]
    assert ended["reason"] == "client_closed"
    assert ended["progress"] == 0


async def test_the_worker_stops_when_its_client_leaves_a_busy_stream(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    response = await client.get(STREAM, params={"steps": "1000", "seconds": "60"})
    for _ in range(20):
        await next_event(response)
    response.close()
    ended = await line_named(log_lines, "job_ended")
    assert ended["reason"] == "client_closed"
    assert ended["progress"] > 0


async def test_many_jobs_run_beside_each_other(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    async def last_event() -> dict[str, Any]:
        async with client.get(STREAM, params={"steps": "5", "seconds": "0.2"}) as response:
            return (await events_of(response))[-1]

    last = await asyncio.gather(*(last_event() for _ in range(50)))
    assert {event["status"] for event in last} == {"completed"}
    ids = {(await line_named(log_lines, "job_ended"))["job"] for _ in last}
    assert len(ids) == 50


async def test_a_service_that_stops_notifies_its_clients(login: Login, log_lines: LogLines) -> None:
    async with aiohttp.ClientSession() as session:
        async with running(login) as url:
            response = await session.get(f"{url}{STREAM}?steps=1&seconds=600")
            await next_event(response)
        last = (await events_of(response))[-1]
    assert last["status"] == "error"
    assert last["message"] == "The service is being restarted"


@pytest.mark.parametrize(
    "query",
    [
        "steps=0",
        "steps=1001",
        "steps=-1",
        "steps=1.5",
        "steps=",
        "steps=" + "9" * 5000,
        "seconds=abc",
        "seconds=-1",
        "seconds=601",
        "seconds=nan",
        "seconds=inf",
        "seconds=1e2",
        "seconds=",
        "fail=yes",
    ],
)
async def test_a_bad_value_is_refused_with_what_is_allowed(
    client: aiohttp.ClientSession, query: str
) -> None:
    name = query.partition("=")[0]
    async with client.get(URL(f"{STREAM}?{query}", encoded=True)) as response:
        assert response.status == 400
        assert await response.json() == {
            "error": f"{name} must be {ALLOWED[name]}.",
            "allowed": ALLOWED,
        }


async def test_a_head_request_starts_no_job(
    client: aiohttp.ClientSession, log_lines: LogLines
) -> None:
    async with client.head(STREAM) as response:
        assert response.status == 405
    assert log_lines.empty()


# The job and its order


async def test_a_job_that_breaks_off_unforeseen_still_ends_with_an_error(
    log_lines: LogLines,
) -> None:
    job = Job(Order(seconds="ten"))  # type: ignore[arg-type]
    await work(job)
    assert job.latest.status == "error"
    assert "ten" not in job.latest.message
    assert (await line_named(log_lines, "job_crashed"))["job"] == job.id


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=3))
def test_any_query_gives_an_order_in_range_or_says_what_is_allowed(
    steps: str, seconds: str, fail: str
) -> None:
    order, complaint = Order(), ""
    try:
        order = parse_order({"steps": steps, "seconds": seconds, "fail": fail})
    except BadOrderError as error:
        complaint = str(error)
    assert complaint in ("", *(f"{name} must be {what}." for name, what in ALLOWED.items()))
    assert 1 <= order.steps <= 1000
    assert 0 <= order.seconds <= 600


@given(st.integers(1, 1000), st.decimals(0, 600, places=3), st.booleans())
def test_every_value_in_range_is_taken_as_it_is(steps: int, seconds: object, fails: bool) -> None:
    query = {"steps": str(steps), "seconds": str(seconds), "fail": str(int(fails))}
    assert parse_order(query) == Order(steps, float(str(seconds)), fails)


def test_an_empty_query_gives_the_default_job() -> None:
    assert parse_order({}) == Order(steps=20, seconds=10.0, fails=False)


@given(st.sampled_from(["processing", "completed", "error"]), st.text(), st.text())
def test_an_event_is_one_data_line_and_a_blank_line_whatever_the_text(
    status: Status, message: str, step: str
) -> None:
    event = Progress(status, 40, message, step).as_event()
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    assert b"\r" not in event
    assert json.loads(event.removeprefix(b"data: ")) == {
        "status": status,
        "progress": 40,
        "message": message,
        "step": step,
    }


# The log-in


async def test_the_log_in_gives_a_short_lived_token_that_its_public_key_verifies(
    client: aiohttp.ClientSession, login: Login
) -> None:
    async with client.post("/demo/login") as response:
        body = await response.json()
        assert response.headers["Cache-Control"] == "no-store"
    claims = jwt.decode(body["token"], login.public_key_pem, algorithms=["EdDSA"])
    assert claims["sub"] == "demo"
    assert claims["exp"] - claims["iat"] == body["expires_in"] == 300


async def test_the_log_in_sets_the_token_as_a_cookie_that_scripts_and_other_sites_cannot_use(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("/demo/login") as response:
        token = (await response.json())["token"]
        cookie = response.cookies["gateway_token"]
    assert cookie.value == token
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("Strict", "/", "300")
    assert not cookie["secure"]


async def test_the_cookie_is_secure_where_the_browser_came_over_https(
    client: aiohttp.ClientSession,
) -> None:
    async with client.post("/demo/login", headers={"X-Forwarded-Proto": "https"}) as response:
        assert response.cookies["gateway_token"]["secure"]


async def test_each_start_has_a_key_of_its_own(login: Login) -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(Login().token(), login.public_key_pem, algorithms=["EdDSA"])


def test_the_published_key_replaces_an_older_one_and_leaves_nothing_beside_it(
    tmp_path: Path, login: Login
) -> None:
    path = tmp_path / "public.pem"
    path.write_text("older")
    publish(login.public_key_pem, path)
    assert path.read_text() == login.public_key_pem
    assert "PRIVATE" not in path.read_text()
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


# The page


async def test_the_page_allows_nothing_but_its_own_files(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["page.js", "style.css", "icon.svg"])
async def test_what_the_page_is_made_of_is_checked_for_news_on_each_load(
    client: aiohttp.ClientSession, name: str
) -> None:
    async with client.get(f"/assets/{name}") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.read()


async def test_files_beside_the_assets_cannot_be_had(client: aiohttp.ClientSession) -> None:
    for path in (
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
        "/assets/..%2f..%2flogin.py",
    ):
        async with client.get(URL(path, encoded=True)) as response:
            assert response.status in (403, 404), path


async def test_the_health_check_answers(client: aiohttp.ClientSession) -> None:
    async with client.get("/healthz") as response:
        assert await response.json() == {"status": "ok"}


# The process


@asynccontextmanager
async def process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_the_process_publishes_its_key_before_it_listens_and_ends_on_sigterm(
    tmp_path: Path,
) -> None:
    key_file = tmp_path / "public.pem"
    async with process(SAMPLE_PUBLIC_KEY_FILE=str(key_file)) as backend:
        assert backend.stdout is not None
        url = json.loads(await backend.stdout.readline())["url"]
        key = key_file.read_text()
        async with aiohttp.ClientSession(url) as session:
            async with session.post("/demo/login") as response:
                token = (await response.json())["token"]
            assert jwt.decode(token, key, algorithms=["EdDSA"])["sub"] == "demo"

            stream = await session.get(STREAM, params={"steps": "1", "seconds": "600"})
            await next_event(stream)
            backend.send_signal(signal.SIGTERM)
            assert (await events_of(stream))[-1]["status"] == "error"
        assert await backend.wait() == 0
        assert token not in (await backend.stdout.read()).decode()
