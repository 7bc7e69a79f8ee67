"""Client libraries of event streams read the same with heartbeats as from the upstream itself."""

import asyncio
import importlib
import json
import os
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import pytest_asyncio
import sseclient

from tests.support.chromium import chromium
from tests.support.gateway_process import ROOT, GatewayProcess, environment
from tests.support.raw_client import Ending, RawClient, Response
from tests.support.routes import listener, port_of
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk, response

# All libraries read side by side, once, so the tests here share the event loop of that.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = ROOT / "tests/support/clients"
DOCS = ROOT / "docs/event-streams.md"
ROUTES = """\
routes:
- path: /{{rest:path}}
  proxy_upstream: http://127.0.0.1:{upstream}
  auth_required: false
  stream: {{heartbeat: 50ms}}
"""
HEARTBEATS = rb"(?:: keep-alive\n)+"
SILENCE = 0.3  # seconds: several heartbeats
TIMEOUT = 30.0
SLOW_IMPORTS = ("anthropic", "openai")  # of seconds, which only this file shall take

# What a library yields: its type, data and id, those of them that the library has, or its error.
Event = dict[str, Any]
Reader = Callable[[list[str]], Awaitable[dict[str, list[Event]]]]


# The streams


def chat() -> list[tuple[str, str]]:
    """The events of a chat completion of OpenAI's API."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "Hello"}, None),
        ({}, "stop"),
    ]
    parts = [
        common | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in choices
    ]
    return [("", json.dumps(part)) for part in parts] + [("", "[DONE]")]


def messages() -> list[tuple[str, str]]:
    """The events of a message of Anthropic's API."""
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    message |= {"usage": {"input_tokens": 1, "output_tokens": 1}}
    text = {"type": "text_delta", "text": "Hello"}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return [(part["type"], json.dumps(part)) for part in parts]


def reports() -> list[tuple[str, str]]:
    """The events of a job that reports its progress; the last one has a type."""
    reported = [("", 0), ("", 50), ("done", 100)]
    return [(name, json.dumps({"progress": progress})) for name, progress in reported]


KINDS = {"chat": chat(), "messages": messages(), "reports": reports()}
TYPES = ",".join(sorted({name or "message" for events in KINDS.values() for name, _ in events}))


def encoded(events: list[tuple[str, str]], *, ids: bool, end: str) -> list[bytes]:
    """The events as bytes, with these line ends."""
    found = []
    for number, (name, data) in enumerate(events, start=1):
        lines = [f"event: {name}"] * bool(name) + [f"id: {number}"] * ids + [f"data: {data}"]
        found.append(end.join([*lines, "", ""]).encode())
    return found


STREAMS = {
    f"{kind}-{'ids' if ids else 'bare'}-{form}": encoded(events, ids=ids, end=end)
    for kind, events in KINDS.items()
    for ids in (True, False)
    for form, end in (("lf", "\n"), ("crlf", "\r\n"))
}


async def serve(exchange: Exchange) -> None:
    """Play the stream that the path begins with, or serve the page and the modules of a browser."""
    await exchange.read_body()
    name, _, rest = exchange.request.target.removeprefix("/").partition("/")
    if name == "modules":
        # The modules of the library import each other without an extension.
        module = CLIENTS / "node_modules/@microsoft/fetch-event-source/lib/esm" / f"{rest}.js"
        await exchange.send(response(module.read_bytes(), "Content-Type: text/javascript"))
        return
    if name not in STREAMS:
        await exchange.send(response(b"<title>A page</title>", "Content-Type: text/html"))
        return
    await exchange.send(EVENT_STREAM)
    for event in STREAMS[name]:
        await asyncio.sleep(SILENCE)
        await exchange.send(chunk(event))
    await asyncio.sleep(SILENCE)
    await exchange.send(LAST_CHUNK)


# The libraries


async def openai_events(url: str) -> AsyncIterator[Event]:
    import openai  # noqa: PLC0415 - see SLOW_IMPORTS

    async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        async for part in stream:
            yield {"data": part.model_dump(mode="json")}


async def anthropic_events(url: str) -> AsyncIterator[Event]:
    import anthropic  # noqa: PLC0415 - see SLOW_IMPORTS

    async with anthropic.AsyncAnthropic(base_url=url, api_key="unused", max_retries=0) as client:
        stream = await client.messages.create(
            model="m", max_tokens=16, messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        async for part in stream:
            yield {"data": part.model_dump(mode="json")}


async def httpx_sse_events(url: str) -> AsyncIterator[Event]:
    async with (
        httpx.AsyncClient(timeout=TIMEOUT) as client,
        httpx_sse.aconnect_sse(client, "GET", url) as source,
    ):
        async for event in source.aiter_sse():
            yield {"type": event.event, "data": event.data, "id": event.id}


async def sseclient_events(url: str) -> AsyncIterator[Event]:
    def read() -> list[Event]:
        with httpx.stream("GET", url, timeout=TIMEOUT) as answer:
            events = sseclient.SSEClient(answer.iter_bytes()).events()
            return [{"type": event.event, "data": event.data, "id": event.id} for event in events]

    with ThreadPoolExecutor(1) as thread:
        for event in await asyncio.get_running_loop().run_in_executor(thread, read):
            yield event


async def read_in_python(
    events: Callable[[str], AsyncIterator[Event]], urls: list[str]
) -> dict[str, list[Event]]:
    async def read(url: str) -> list[Event]:
        found: list[Event] = []
        try:
            async for event in events(url):
                found.append(event)  # noqa: PERF401 - what came before an error is kept
        except Exception as error:  # noqa: BLE001 - whatever a library raises is its result
            found.append({"error": repr(error)})
        return found

    return dict(zip(urls, await asyncio.gather(*map(read, urls)), strict=True))


async def read_in_node(library: str, urls: list[str]) -> dict[str, list[Event]]:
    process = await asyncio.create_subprocess_exec(
        *("node", "read.mjs", library, TYPES, *urls),
        cwd=CLIENTS,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert (process.returncode, errors.decode()) == (0, "")
    found: dict[str, list[Event]] = {url: [] for url in urls}
    for line in output.splitlines():
        event = json.loads(line)
        found[event.pop("url")].append(event)
    return found


READ_IN_PAGE = """async (urls) => {
  const { fetchEventSource } = await import("/modules/fetch");
  const read = async (url) => {
    const found = [];
    const onmessage = ({ event, data, id }) => {
      found.push({ type: event, data: data === "[DONE]" ? data : JSON.parse(data), id });
    };
    const onerror = (error) => { throw error; };
    try {
      await fetchEventSource(url, { openWhenHidden: true, onmessage, onerror });
    } catch (error) {
      found.push({ error: String(error) });
    }
    return [url, found];
  };
  return Object.fromEntries(await Promise.all(urls.map(read)));
}"""


async def read_in_browser(urls: list[str]) -> dict[str, list[Event]]:
    """Read with fetch-event-source, each URL in a page of its own origin."""
    by_origin: defaultdict[str, list[str]] = defaultdict(list)
    for url in urls:
        by_origin[url.rpartition("/")[0]].append(url)
    async with chromium() as browser:

        async def read(origin: str) -> dict[str, list[Event]]:
            page = await browser.new_page()
            await page.goto(f"{origin}/page")
            found: dict[str, list[Event]] = await page.evaluate(READ_IN_PAGE, by_origin[origin])
            return found

        direct, through = await asyncio.gather(*map(read, by_origin))
    return direct | through


@dataclass(frozen=True, slots=True)
class Library:
    """How a library is run, and the kinds of streams that it reads."""

    read: Reader
    kinds: tuple[str, ...]
    of_node: bool = False

    def streams(self) -> list[str]:
        return [name for name in STREAMS if name.partition("-")[0] in self.kinds]

    def count(self, name: str) -> int:
        """Give the number of events that it yields. An SDK keeps `[DONE]` and `ping` to itself."""
        is_sdk = len(self.kinds) == 1
        return len(STREAMS[name]) - (1 if is_sdk else 0)


def of_python(events: Callable[[str], AsyncIterator[Event]], *kinds: str) -> Library:
    return Library(partial(read_in_python, events), kinds)


def of_node(name: str, *kinds: str) -> Library:
    return Library(partial(read_in_node, name), kinds, of_node=True)


LIBRARIES = {
    "openai (Python)": of_python(openai_events, "chat"),
    "anthropic (Python)": of_python(anthropic_events, "messages"),
    "httpx-sse (Python)": of_python(httpx_sse_events, *KINDS),
    "sseclient-py (Python)": of_python(sseclient_events, *KINDS),
    "openai (Node.js)": of_node("openai", "chat"),
    "@anthropic-ai/sdk (Node.js)": of_node("@anthropic-ai/sdk", "messages"),
    "eventsource (Node.js)": of_node("eventsource", *KINDS),
    "eventsource-parser (Node.js)": of_node("eventsource-parser", *KINDS),
    "@microsoft/fetch-event-source (Chromium)": Library(
        read_in_browser, tuple(KINDS), of_node=True
    ),
}
# A copy for the compiled form has no packages of Node.js.
RUN = {
    name: library
    for name, library in LIBRARIES.items()
    if not (library.of_node and os.environ.get("FORM") == "compiled")
}


# The comparison


@dataclass(frozen=True, slots=True)
class Readings:
    """What each library read of each stream, and the bytes of the streams through the gateway."""

    direct: dict[tuple[str, str], list[Event]]
    through: dict[tuple[str, str], list[Event]]
    raw: dict[str, Response]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client-libraries")


@pytest.fixture(scope="module")
def no_proxy() -> Iterator[None]:
    """Keep the libraries from a proxy that the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "*")
        yield


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def readings(directory: Path, no_proxy: None) -> Readings:
    """Run everything side by side: the silences of all streams pass at the same time."""
    for name in SLOW_IMPORTS:  # before the upstream runs, which an import would hold up
        importlib.import_module(name)
    assert (CLIENTS / "node_modules").is_dir() or RUN != LIBRARIES, "run: scripts/clients"
    upstream, taken = Upstream(), listener()
    upstream.script = serve
    port = port_of(taken)
    upstream.start(taken)
    routes = ROUTES.format(upstream=port)
    gateway = await asyncio.to_thread(GatewayProcess.serve, routes, directory, env=environment())
    try:
        found = await read_all(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{gateway.port}")
    finally:
        code = gateway.stop()
        await upstream.stop()
    assert (code, gateway.error_output) == (0, ""), gateway.output
    return found


async def read_all(direct: str, through: str) -> Readings:
    async def read(library: Library) -> dict[str, list[Event]]:
        origins = (direct, through)
        return await library.read(
            [f"{origin}/{name}" for origin in origins for name in library.streams()]
        )

    events, raw = await asyncio.gather(
        asyncio.gather(*map(read, RUN.values())), read_raw(int(through.rpartition(":")[2]))
    )
    found = dict(zip(RUN, events, strict=True))

    def of(origin: str) -> dict[tuple[str, str], list[Event]]:
        return {
            (library, name): found[library][f"{origin}/{name}"]
            for library in RUN
            for name in RUN[library].streams()
        }

    return Readings(of(direct), of(through), raw)


async def read_raw(port: int) -> dict[str, Response]:
    async def read(name: str) -> Response:
        client = await RawClient.connect(port)
        try:
            return await client.fetch(f"/{name}")
        finally:
            client.close()

    return dict(zip(STREAMS, await asyncio.gather(*map(read, STREAMS)), strict=True))


@pytest.mark.parametrize("name", STREAMS)
async def test_heartbeats_stand_before_between_and_after_the_events(
    readings: Readings, name: str
) -> None:
    got = readings.raw[name]
    wanted = HEARTBEATS.join([b"", *map(re.escape, STREAMS[name]), b""])
    assert re.fullmatch(wanted, got.body), got.body
    assert got.ending is Ending.CLEAN


@pytest.mark.parametrize(
    ("library", "name"),
    [(library, name) for library in RUN for name in RUN[library].streams()],
)
async def test_a_library_reads_with_heartbeats_what_it_reads_without(
    readings: Readings, library: str, name: str
) -> None:
    direct = readings.direct[library, name]
    assert len(direct) == RUN[library].count(name), direct
    assert not any("error" in event for event in direct), direct
    assert readings.through[library, name] == direct


async def test_the_table_names_each_library_with_the_version_that_is_installed() -> None:
    wanted = json.loads((CLIENTS / "package.json").read_text())["devDependencies"]
    versions = {}
    for library in LIBRARIES:
        name, _, run_in = library.removesuffix(")").partition(" (")
        version = metadata.version(name) if run_in == "Python" else wanted[name]
        versions[name, run_in] = version
    rows = re.findall(r"^\| `(.+)` \| (\S+) \| ([\d.]+) \|", DOCS.read_text(), re.MULTILINE)
    assert {(name, run_in): version for name, run_in, version in rows} == versions
