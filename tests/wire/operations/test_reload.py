"""A changed routes.yaml is taken over without a break, or changes nothing and says why."""

import asyncio
import hashlib
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.key_issuer import Key, KeyIssuer, key_set
from tests.support.raw_client import Ending, RawClient
from tests.support.routes import Places, port_of
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk, reflect
from tests.wire.conftest import Connect, StartGateway

OLD = """
- path: /both
  proxy_upstream: $SERVICE
  auth_required: false
  response_headers: {set: {X-Version: old}}
- path: /old
  proxy_upstream: $SERVICE
  auth_required: false
  stream: {heartbeat: 100ms}
"""
NEW = OLD.replace("old", "new")
BROKEN = OLD.replace("auth_required: false", "auth_required: perhaps")


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """The file of the gateway that the test starts."""
    return tmp_path / "routes.yaml"


def replace(file: Path, text: str) -> None:
    """Write as careful editors do: another file, that takes the name."""
    draft = file.with_name("draft~")
    draft.write_text(text)
    draft.rename(file)


def publish(folder: Path, name: str, text: str) -> None:
    """Give a ConfigMap this text, as Kubernetes does: a folder for it, then the swap of a link."""
    (folder / name).mkdir()
    (folder / name / "routes.yaml").write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(name)
    link.rename(folder / "..data")


def link_into_config_map(file: Path) -> None:
    file.unlink()
    file.symlink_to(Path("..data", file.name))


async def version(client: RawClient) -> str | None:
    got = await client.fetch("/both")
    assert got.status == 200
    return got.value("X-Version")


async def readiness(connect: Connect, gateway: GatewayProcess) -> tuple[int, Any]:
    got = await (await connect(gateway.port)).fetch("/readyz")
    return got.status, got.json()["checks"]["reload"]


async def test_new_requests_see_the_new_routes_also_on_an_open_connection(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    client = await connect(gateway.port)
    assert await version(client) == "old"
    assert (await client.fetch("/new")).status == 404
    replace(routes, NEW)
    gateway.signal(signal.SIGHUP)
    assert (await gateway.await_lines("reloaded"))[0]["routes"] == 2
    assert await version(client) == "new"
    assert (await client.fetch("/new")).status == 200
    assert (await client.fetch("/old")).status == 404


async def test_a_stream_goes_on_under_its_old_route(
    start_gateway: StartGateway, connect: Connect, service: Upstream, routes: Path
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await go_on.wait()
        await exchange.send(chunk(b"data: 2\n\n") + LAST_CHUNK)

    service.script = script
    gateway = start_gateway(OLD)
    client = await connect(gateway.port)
    await client.request("/old")
    await client.head()
    await client.until(b"data: 1\n\n")
    replace(routes, NEW.replace("heartbeat: 100ms", "error_event: message"))
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reloaded")
    reported = len(client.response.body) if client.response else 0
    await client.take(reported + 2 * len(b": keep-alive\n"))
    assert client.response
    assert b": keep-alive\n" in client.response.body[reported:]
    go_on.set()
    got = await client.rest()
    assert (bytes(got.body[-9:]), got.ending) == (b"data: 2\n\n", Ending.CLEAN)
    assert (await gateway.request_line(route="/old"))["end_reason"] == "complete"


async def test_a_timeout_holds_as_it_did_when_the_request_came(
    start_gateway: StartGateway, connect: Connect, service: Upstream, routes: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await exchange.until_gone()

    service.script = script
    gateway = start_gateway(OLD + "  timeout: 2s\n")
    client = await connect(gateway.port)
    await client.request("/old")
    await client.head()
    replace(routes, OLD + "  timeout: none\n")
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reloaded")
    assert (await client.rest()).ending is not Ending.CLEAN
    assert (await gateway.request_line(route="/old"))["end_reason"] == "total_timeout"


def remove(file: Path) -> None:
    file.unlink()


def write_in_place(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.mark.parametrize("change", [write_in_place, replace])
async def test_a_changed_file_is_taken_over_without_a_signal(
    start_gateway: StartGateway, connect: Connect, routes: Path, change: Callable[[Path, str], None]
) -> None:
    gateway = start_gateway(OLD)
    client = await connect(gateway.port)
    await asyncio.to_thread(change, routes, NEW)
    await gateway.await_lines("reloaded")
    assert await version(client) == "new"
    await asyncio.to_thread(change, routes, OLD)  # and once more: what is watched is not lost
    await gateway.await_lines("reloaded", 2)
    assert await version(client) == "old"


async def test_the_swap_of_a_config_map_is_a_change(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    publish(routes.parent, "..1", OLD)
    link_into_config_map(routes)
    publish(routes.parent, "..2", NEW)
    await gateway.await_lines("reloaded")
    client = await connect(gateway.port)
    assert await version(client) == "new"
    publish(routes.parent, "..3", OLD)
    await gateway.await_lines("reloaded", 2)
    assert await version(client) == "old"


async def test_another_file_in_the_folder_is_no_change(
    start_gateway: StartGateway, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    routes.with_name("other.yaml").write_text(NEW)
    os.utime(routes)  # nor is a new date without a new text
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reloaded")
    replace(routes, NEW)
    await gateway.await_lines("reloaded", 2)
    assert len(gateway.lines("reloaded")) == 2


async def test_a_file_with_faults_changes_nothing_and_is_reported(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    client = await connect(gateway.port)
    assert await readiness(connect, gateway) == (200, {"ok": True, "faults": 0})
    replace(routes, BROKEN)
    (line,) = await gateway.await_lines("reload_failed")
    assert line["errors"] == [
        f"{routes}:4:18: must be true or false",
        f"{routes}:8:18: must be true or false",
    ]
    assert line["level"] == "error"
    assert await version(client) == "old"
    assert await readiness(connect, gateway) == (200, {"ok": False, "faults": 2})
    replace(routes, NEW)
    await gateway.await_lines("reloaded")
    assert await version(client) == "new"
    assert await readiness(connect, gateway) == (200, {"ok": True, "faults": 0})


async def test_metrics_show_the_file_that_is_served_and_how_each_reload_went(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    async def reported() -> list[str]:
        got = await (await connect(gateway.ops_port)).fetch("/metrics")
        return [
            line for line in got.body.decode().splitlines() if line.startswith("gateway_config")
        ]

    gateway = start_gateway(OLD)
    replace(routes, BROKEN)
    await gateway.await_lines("reload_failed")
    replace(routes, NEW)
    await gateway.await_lines("reloaded")
    digest = hashlib.sha256(NEW.encode()).hexdigest()
    assert await reported() == [
        'gateway_config_reloads_total{result="success"} 2.0',
        'gateway_config_reloads_total{result="failure"} 1.0',
        f'gateway_config_info{{sha256="{digest}"}} 1.0',
    ]


async def test_a_file_that_is_gone_changes_nothing(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    remove(routes)
    (reported,) = await gateway.await_lines("reload_failed")
    assert reported["errors"] == [f"{routes}: cannot be read: No such file or directory"]
    assert await version(await connect(gateway.port)) == "old"
    write_in_place(routes, NEW)
    await gateway.await_lines("reloaded")
    assert await version(await connect(gateway.port)) == "new"


async def test_a_reload_does_not_disturb_a_drain(
    start_gateway: StartGateway, connect: Connect, service: Upstream, routes: Path
) -> None:
    finish = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await finish.wait()
        await exchange.send(LAST_CHUNK)

    service.script = script
    gateway = start_gateway(OLD)
    client = await connect(gateway.port)
    await client.request("/old")
    await client.head()
    gateway.signal(signal.SIGTERM)
    await gateway.await_lines("draining")
    replace(routes, NEW)
    gateway.signal(signal.SIGHUP)
    finish.set()
    assert (await client.rest()).ending is Ending.CLEAN
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.lines("reloaded") == []
    assert gateway.error_output == ""


# A hundred of them


async def test_a_hundred_reloads_under_load_refuse_nobody_and_cut_nothing(
    start_gateway: StartGateway, connect: Connect, service: Upstream, routes: Path
) -> None:
    finish = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/both?stream":
            await reflect(exchange)
            return
        await exchange.send(EVENT_STREAM)
        while not finish.is_set():
            await exchange.send(chunk(b"data: 1\n\n"))
            with suppress(TimeoutError):
                await asyncio.wait_for(finish.wait(), 0.02)
        await exchange.send(LAST_CHUNK)

    async def ask_on() -> int:
        client, count = await connect(gateway.port), 0
        while not finish.is_set():
            assert await version(client) in {"old", "new"}
            count += 1
        return count

    async def stream() -> Ending | None:
        client = await connect(gateway.port)
        await client.request("/both?stream")
        await client.head()
        got = await client.rest()
        assert got.body == b"data: 1\n\n" * (len(got.body) // 9)
        return got.ending

    async def reload(times: int) -> None:
        for _ in range(times):
            so_far = len(gateway.lines("reloaded"))
            replace(routes, (OLD, NEW)[so_far % 2])
            gateway.signal(signal.SIGHUP)
            await gateway.await_lines("reloaded", so_far + 1)

    service.script = script
    gateway = start_gateway(OLD)
    streams = [asyncio.create_task(stream()) for _ in range(10)]
    asking = [asyncio.create_task(ask_on()) for _ in range(4)]
    try:
        await reload(40)
        memory, files = gateway.resident_bytes(), gateway.open_files()
        await reload(60)
        grown, more_files = gateway.resident_bytes() - memory, gateway.open_files() - files
    finally:
        finish.set()
    assert await asyncio.gather(*streams) == [Ending.CLEAN] * 10
    assert sum(await asyncio.gather(*asking)) > 100
    assert {line["end_reason"] for line in gateway.request_lines()} == {"complete"}
    assert gateway.lines("reload_failed") == []
    assert grown < 2 * 1024 * 1024, f"{grown} bytes for 60 reloads"
    assert abs(more_files) <= 4


# What a reload must not lose, and what it must not keep

TOKENS = """
auth:
  algorithms: [ES256]
  jwks_url: $JWKS_URL
  token_endpoint: /tokens
routes:
- path: /jobs
  proxy_upstream: $SERVICE
"""


async def stream_token(client: RawClient, login: str) -> str:
    bearer, body = f"Authorization: Bearer {login}", b'{"path": "/jobs"}'
    got = await client.fetch("/tokens", bearer, method="POST", body=body)
    assert got.status == 200
    return str(got.json()["token"])


async def test_tokens_of_one_use_outlive_a_reload_of_auth(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    """Signed with the key of the process itself, used or not, whatever else changes in `auth:`."""
    key, issuer = Key("k"), KeyIssuer()
    issuer.text = key_set(key)
    await issuer.start()
    try:
        gateway = start_gateway(TOKENS, JWKS_URL=issuer.url)
        client = await connect(gateway.port)
        used, unused = [await stream_token(client, key.token()) for _ in range(2)]
        assert (await client.fetch(f"/jobs?token={used}")).status == 200
        replace(routes, TOKENS.replace("auth:\n", "auth:\n  leeway: 7s\n"))
        gateway.signal(signal.SIGHUP)
        await gateway.await_lines("reloaded")
        assert (await client.fetch(f"/jobs?token={used}")).status == 401
        assert (await client.fetch(f"/jobs?token={unused}")).status == 200
        assert (await client.fetch(f"/jobs?token={unused}")).status == 401
        assert (await client.fetch(f"/jobs?token={key.token()}")).status == 200
        assert len(issuer.fetches) == 1, "the fetched keys were kept"
    finally:
        await issuer.stop()


async def test_a_token_that_was_accepted_is_rejected_once_its_key_has_changed(
    start_gateway: StartGateway, connect: Connect, routes: Path
) -> None:
    text = "- {path: /both, proxy_upstream: $SERVICE}"
    gateway = start_gateway(text)
    client, bearer = await connect(gateway.port), f"Authorization: Bearer {token()}"
    assert (await client.fetch("/both", bearer)).status == 200
    replace(routes, f"auth: {{secret: {'another secret ' * 3}}}\nroutes:\n{text}\n")
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reloaded")
    got = await client.fetch("/both", bearer)
    assert (got.status, got.json()["code"]) == (401, "token_invalid")


async def test_an_issuer_that_gives_no_keys_is_not_taken_over(
    start_gateway: StartGateway, connect: Connect, routes: Path, places: Places
) -> None:
    text = "- {path: /both, proxy_upstream: $SERVICE}"
    gateway = start_gateway(text)
    url = f"http://127.0.0.1:{port_of(places.dead)}/keys"
    replace(routes, f"auth: {{algorithms: [RS256], jwks_url: '{url}'}}\nroutes:\n{text}\n")
    (reported,) = await gateway.await_lines("reload_failed")
    assert "auth.jwks_url gave no keys" in reported["errors"][0]
    bearer = f"Authorization: Bearer {token()}"
    assert (await (await connect(gateway.port)).fetch("/both", bearer)).status == 200


async def test_where_used_tokens_are_written_down_stays(
    start_gateway: StartGateway, routes: Path
) -> None:
    gateway = start_gateway(OLD)
    replace(routes, f"limits: {{redis: 'redis://127.0.0.1:1'}}\nroutes:{OLD}")
    (reported,) = await gateway.await_lines("reload_failed")
    message = "limits.redis cannot be changed by a reload: restart the gateway"
    assert reported["errors"] == [f"{routes}: {message}"]
