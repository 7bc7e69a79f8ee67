"""Several workers are one gateway: one port, one set of limits, one end; one may die or hang."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import parser

from tests.support.gateway_process import GatewayProcess, environment
from tests.support.key_issuer import Key
from tests.support.raw_client import Ending, RawClient
from tests.support.redis_process import RedisProcess
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, answers, chunk
from tests.wire.conftest import Connect, StartGateway

PATIENCE = 15.0
PORT_FIELD, INODE_FIELD, ESTABLISHED = 1, 9, "01"  # of a line in /proc/net/tcp
ROUTES = """\
auth:
  token_endpoint: /auth/stream-token
defaults:
  proxy_upstream: $SERVICE
routes:
- path: /free
  auth_required: false
- path: /few
  auth_required: false
  limits: {max_streams: 2}
- path: /each
  limits: {max_streams_per_user: 1}
- path: /paced
  limits: {rate: 2/h}
- path: /once
"""


def bearer(sub: str = "ada") -> str:
    return f"Authorization: Bearer {token(sub)}"


async def stays(exchange: Exchange) -> None:
    """A script: begin an event stream, and stay in it until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
    await exchange.until_gone()


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for what the kernel alone knows, and for which there is no event."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def workers_of(gateway: GatewayProcess) -> list[int]:
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return [int(child) for child in children]


def is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody waited for yet has ended all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def connections_of(pid: int, port: int) -> int:
    """How many clients' connections to a port a process has."""
    files = Path(f"/proc/{pid}/fd")
    held = {str(file.readlink()) for file in files.iterdir() if file.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(line[PORT_FIELD].rpartition(":")[2], 16) == port
        and line[3] == ESTABLISHED
        and f"socket:[{line[INODE_FIELD]}]" in held
        for line in lines
    )


async def opened(connect: Connect, port: int, path: str = "/free", *headers: str) -> RawClient:
    """A stream that has begun."""
    client = await connect(port)
    await client.request(path, *headers)
    assert (await client.head()).status == 200, await client.rest()
    await client.until(b"data: 1")
    return client


async def spread_streams(connect: Connect, gateway: GatewayProcess) -> list[RawClient]:
    """Streams of which each worker has some. The kernel deals them out by a hash."""
    clients: list[RawClient] = []
    while len(clients) < 4 or not all(
        connections_of(pid, gateway.port) for pid in workers_of(gateway)
    ):
        clients.append(await opened(connect, gateway.port))
        assert len(clients) < 64, "one worker gets nothing"
    return clients


async def has_ended(client: RawClient) -> bool:
    """Whether the stream is over, as its end came before what was waited for last."""
    try:
        async with asyncio.timeout(0.1):
            return (await client.rest()).ending is not None
    except TimeoutError:
        return False


async def statuses(connect: Connect, port: int, target: str, *headers: str) -> list[int]:
    """What eight connections get, one after another, so that each worker is asked."""
    return [(await (await connect(port)).fetch(target, *headers)).status for _ in range(8)]


@pytest.fixture
def gateway(start_gateway: StartGateway, service: Upstream) -> GatewayProcess:
    service.script = stays
    return start_gateway(ROUTES, "--workers", "2")


# One of them dies


async def test_a_worker_that_is_killed_costs_its_own_streams_and_is_replaced(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    clients = await spread_streams(connect, gateway)
    victim, other = workers_of(gateway)
    lost = connections_of(victim, gateway.port)
    assert lost + connections_of(other, gateway.port) == len(clients)
    os.kill(victim, signal.SIGKILL)
    for _ in range(8):  # new ones are served at once, by any worker that is there
        await opened(connect, gateway.port)
    line = (await gateway.await_lines("worker_exited"))[0]
    assert (line["pid"], line["exit_code"]) == (victim, -signal.SIGKILL)
    replaced = (await gateway.await_lines("worker_replaced"))[0]
    assert replaced["worker"] == line["worker"]
    assert sorted(workers_of(gateway)) == sorted([other, replaced["pid"]])

    def is_served() -> bool:
        return connections_of(replaced["pid"], gateway.port) > 0

    for _ in range(64):
        if is_served():
            break
        await opened(connect, gateway.port)
    assert is_served(), "the new one gets nothing"

    assert sum(await asyncio.gather(*map(has_ended, clients))) == lost


async def test_what_a_dead_worker_held_is_free_again(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    held = [await opened(connect, gateway.port, "/few") for _ in range(2)]
    assert await statuses(connect, gateway.port, "/few") == [429] * 8
    for pid in workers_of(gateway):
        os.kill(pid, signal.SIGKILL)
    await gateway.await_lines("worker_replaced", 2)
    again = [await opened(connect, gateway.port, "/few") for _ in range(2)]
    assert await statuses(connect, gateway.port, "/few") == [429] * 8
    for client in (*held, *again):
        client.close()


async def test_a_worker_that_hangs_is_killed_and_replaced(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    """What comes meanwhile is answered by the others, and what it held is free again."""
    held = [await opened(connect, gateway.port, "/few") for _ in range(2)]
    victim = next(pid for pid in workers_of(gateway) if connections_of(pid, gateway.port))
    (other,) = set(workers_of(gateway)) - {victim}
    clients = await spread_streams(connect, gateway)
    lost = connections_of(victim, gateway.port)
    os.kill(victim, signal.SIGSTOP)
    await asyncio.gather(*(opened(connect, gateway.port) for _ in range(26)))
    assert gateway.lines("worker_hung") == []  # nobody waited for its end
    hung = (await gateway.await_lines("worker_hung"))[0]
    assert (hung["level"], hung["pid"]) == ("error", victim)
    assert hung["silent_s"] >= 10
    replaced = (await gateway.await_lines("worker_replaced"))[0]
    assert replaced["worker"] == hung["worker"]
    assert sorted(workers_of(gateway)) == sorted([other, replaced["pid"]])
    ended = await asyncio.gather(*map(has_ended, [*held, *clients]))
    assert sum(ended) == lost
    for _ in range(sum(ended[: len(held)])):
        await opened(connect, gateway.port, "/few")
    assert await statuses(connect, gateway.port, "/few") == [429] * 8
    assert 'gateway_worker_restarts_total{reason="hung"} 1.0' in await scrape(connect, gateway)
    service.script = answers()
    assert await statuses(connect, gateway.port, "/free") == [200] * 8


async def test_workers_whose_supervisor_is_killed_end_by_themselves(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = stays
    gateway = start_gateway(ROUTES, "--workers", "2", "--drain-timeout", "0s")
    await opened(connect, gateway.port)
    workers = workers_of(gateway)
    gateway.signal(signal.SIGKILL)
    await until(lambda: not any(is_alive(pid) for pid in workers))
    assert await asyncio.to_thread(gateway.exit_code) == -signal.SIGKILL


# What is said to them all


async def test_a_changed_file_is_served_by_all_or_by_none(
    start_gateway: StartGateway, connect: Connect, service: Upstream, tmp_path: Path
) -> None:
    service.script = answers()
    gateway = start_gateway(ROUTES, "--workers", "2")
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTES + "- path: /new\n  auth_required: false\n")
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reloaded")
    assert await statuses(connect, gateway.port, "/new") == [200] * 8
    file.write_text("- nonsense\n")
    gateway.signal(signal.SIGHUP)
    await gateway.await_lines("reload_failed")
    assert await statuses(connect, gateway.port, "/new") == [200] * 8
    os.kill(workers_of(gateway)[0], signal.SIGKILL)  # the next one serves what the others do
    await gateway.await_lines("worker_replaced")
    assert await statuses(connect, gateway.port, "/new") == [200] * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_all_drain_before_it_ends(
    start_gateway: StartGateway, connect: Connect, service: Upstream, number: signal.Signals
) -> None:
    """Also when every process gets the signal, as from a service manager."""
    finish = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await finish.wait()
        await exchange.send(LAST_CHUNK)

    service.script = script
    gateway = start_gateway(ROUTES, "--workers", "2")
    clients = await spread_streams(connect, gateway)
    for pid in workers_of(gateway):
        os.kill(pid, number)
    gateway.signal(number)
    await gateway.await_lines("draining")
    async with asyncio.timeout(PATIENCE):
        while True:  # until the port is closed
            try:
                (await connect(gateway.port)).close()
            except ConnectionResetError:
                continue  # it waited at a door when that was closed
            except ConnectionRefusedError:
                break
    finish.set()
    endings = [(await client.rest()).ending for client in clients]
    assert endings == [Ending.CLEAN] * len(clients)
    assert await asyncio.to_thread(gateway.exit_code) == 0
    assert gateway.error_output == ""


async def test_a_second_signal_ends_all_at_once(gateway: GatewayProcess, connect: Connect) -> None:
    clients = await spread_streams(connect, gateway)
    gateway.signal(signal.SIGTERM)
    await gateway.await_lines("draining")
    gateway.signal(signal.SIGTERM)
    assert [(await client.rest()).ending for client in clients] == [Ending.CUT] * len(clients)
    assert await asyncio.to_thread(gateway.exit_code) == 0


# What holds over them all


async def test_a_user_has_one_stream_whichever_worker_is_asked(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    client = await opened(connect, gateway.port, "/each", bearer())
    assert await statuses(connect, gateway.port, "/each", bearer()) == [429] * 8
    await opened(connect, gateway.port, "/each", bearer("grace"))
    client.close()
    async with asyncio.timeout(PATIENCE):
        while True:  # until it is known that the browser left
            other = await connect(gateway.port)
            await other.request("/each", bearer())
            if (await other.head()).status == 200:
                break


async def test_a_rate_is_that_of_all_workers_together(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    got = await statuses(connect, gateway.port, "/paced", bearer())
    assert got == [200, 200] + [429] * 6


async def test_connections_are_counted_over_all_workers(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = stays
    gateway = start_gateway(ROUTES + "limits: {max_connections: 6}\n", "--workers", "2")
    clients = [await opened(connect, gateway.port) for _ in range(6)]
    assert await statuses(connect, gateway.port, "/free") == [503] * 8
    for client in clients[:3]:
        client.close()
    async with asyncio.timeout(PATIENCE):
        while (await (await connect(gateway.port)).fetch("/healthz")).status != 200:
            pass  # until it is known that they left


async def test_a_stream_token_of_any_worker_opens_one_stream_at_any(
    start_gateway: StartGateway, connect: Connect, service: Upstream, tmp_path: Path
) -> None:
    """Where the key that signs them is the gateway's own, too."""
    service.script = answers()
    login = Key()
    (tmp_path / "login.pem").write_bytes(login.pem())
    routes = ROUTES.replace("auth:", "auth:\n  public_key: login.pem\n  algorithms: [ES256]")
    gateway = start_gateway(routes, "--workers", "2")
    authorization = f"Authorization: Bearer {login.token()}"
    for _ in range(4):
        client = await connect(gateway.port)
        body = b'{"path": "/once"}'
        got = await client.fetch("/auth/stream-token", authorization, method="POST", body=body)
        target = f"/once?token={got.json()['token']}"
        assert await statuses(connect, gateway.port, target) == [200] + [401] * 7


async def test_with_redis_a_users_streams_are_those_of_all_workers_of_all_replicas(
    start_gateway: StartGateway, connect: Connect, service: Upstream, redis: RedisProcess
) -> None:
    """And while it is away, those of all workers of one."""
    service.script = stays
    routes = ROUTES + "limits: {redis: $REDIS_URL}\n"
    several = start_gateway(routes, "--workers", "2", REDIS_URL=redis.url)
    one = start_gateway(routes, REDIS_URL=redis.url)
    await opened(connect, one.port, "/each", bearer())
    assert await statuses(connect, several.port, "/each", bearer()) == [429] * 8
    redis.kill()
    await opened(connect, several.port, "/each", bearer())
    assert await statuses(connect, several.port, "/each", bearer()) == [429] * 8
    assert (await samples(connect, several))["gateway_limits_shared"] == 0


# What is reported of them


async def scrape(connect: Connect, gateway: GatewayProcess) -> str:
    return (await (await connect(gateway.ops_port)).fetch("/metrics")).body.decode()


async def samples(connect: Connect, gateway: GatewayProcess) -> dict[str, float]:
    """The metrics of a scrape, the series of each name added up."""
    text = await scrape(connect, gateway)
    reported: dict[str, float] = defaultdict(float)
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            reported[sample.name] += sample.value
    return reported


async def test_what_is_counted_is_the_sum_and_never_falls(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    clients = await spread_streams(connect, gateway)
    service.script = answers()
    assert await statuses(connect, gateway.port, "/free") == [200] * 8
    await gateway.await_lines("request", 8)
    before = await samples(connect, gateway)
    assert before["gateway_active_streams"] == len(clients)
    assert (before["gateway_requests_total"], before["gateway_workers"]) == (8, 2)
    listed = (await (await connect(gateway.ops_port)).fetch("/streams")).json()
    assert listed["count"] == len(clients)
    assert {stream["worker"] for stream in listed["streams"]} == {0, 1}
    sent = before["gateway_relayed_bytes_total"]
    assert sent > 0
    for pid in workers_of(gateway):
        os.kill(pid, signal.SIGKILL)
    await gateway.await_lines("worker_exited", 2)
    reported = await samples(connect, gateway)
    assert (reported["gateway_requests_total"], reported["gateway_active_streams"]) == (8, 0)
    assert reported["gateway_relayed_bytes_total"] == sent
    await gateway.await_lines("worker_replaced", 2)
    assert await statuses(connect, gateway.port, "/free") == [200] * 8
    await gateway.await_lines("request", 16)
    reported = await samples(connect, gateway)
    assert (reported["gateway_requests_total"], reported["gateway_workers"]) == (16, 2)
    assert reported["gateway_worker_restarts_total"] == 2
    assert reported["gateway_config_reloads_total"] == 1


async def test_a_worker_that_does_not_answer_makes_it_not_ready(
    gateway: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    await statuses(connect, gateway.port, "/free")
    await gateway.await_lines("request", 8)
    ready = await (await connect(gateway.ops_port)).fetch("/readyz")
    assert ready.status == 200
    assert ready.json()["checks"]["workers"] == {"ok": True, "ready": 2, "wanted": 2}
    assert (await samples(connect, gateway))["gateway_requests_total"] == 8
    stuck = workers_of(gateway)[0]
    os.kill(stuck, signal.SIGSTOP)
    reported = await (await connect(gateway.ops_port)).fetch("/readyz")
    assert (reported.status, reported.json()["checks"]["workers"]["ready"]) == (503, 1)
    assert (await samples(connect, gateway))["gateway_requests_total"] == 8
    os.kill(stuck, signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        while (await (await connect(gateway.ops_port)).fetch("/readyz")).status != 200:
            pass


# The start


async def test_a_port_that_is_taken_is_reported_once(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "routes.yaml").write_text(ROUTES)
    second = GatewayProcess(
        *("serve", "--routes", str(folder / "routes.yaml"), "--workers", "2"),
        *("--host", "127.0.0.1", "--port", str(gateway.port), "--ops-port", "0"),
        env=environment(SERVICE="http://127.0.0.1:1"),
    )
    assert await asyncio.to_thread(second.exit_code) == 1
    assert second.error_output.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{gateway.port}" in second.error_output
