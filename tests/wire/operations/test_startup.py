"""A gateway that cannot run says why in plain lines; one that can takes options from anywhere."""

import socket
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess, environment, run_gateway
from tests.support.tokens import token
from tests.support.upstream import Upstream
from tests.wire.conftest import Connect

SIX_LINES = """\
# routes.yaml
- path: /api/v1/process/stream
  method: GET
  proxy_upstream: $PROCESSOR_SERVICE_URL
  auth_required: true
  timeout: 300s # Long timeout for streaming
  description: SSE progress stream
"""
PORTS = ("--host", "127.0.0.1", "--port", "0", "--ops-port", "0")


def routes_file(directory: Path, text: str) -> str:
    file = directory / "routes.yaml"
    file.write_text(text)
    return str(file)


def faults_of(directory: Path, text: str, **variables: str) -> list[str]:
    """The lines on stderr of a gateway that does not start."""
    file = routes_file(directory, text)
    ended = run_gateway("serve", "--routes", file, *PORTS, env=environment(**variables))
    assert ended.returncode == 1, ended.stdout
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()


async def test_the_six_lines_work_as_they_are(
    connect: Connect, service: Upstream, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{service.port}"
    env = environment(PROCESSOR_SERVICE_URL=url)
    gateway = GatewayProcess.serve(SIX_LINES, tmp_path, env=env)
    try:
        client = await connect(gateway.port)
        path = "/api/v1/process/stream"
        assert (await client.fetch(path)).status == 401
        assert (await client.fetch(f"{path}?token={token()}")).status == 200
        assert (await client.fetch(path, method="POST")).status == 405
        assert service.request.target == path
    finally:
        assert gateway.stop() == 0


def test_every_fault_of_a_file_is_reported_with_its_place(tmp_path: Path) -> None:
    text = SIX_LINES.replace("timeout: 300s", "timeuot: 300s").replace("GET", "{GET: 7}")
    lines = faults_of(tmp_path, text + "- path: /x\n  proxy_upstream: ftp://x\n")
    assert len(lines) == 4, lines
    assert all("routes.yaml:" in line for line in lines)
    assert any("routes.yaml:6:3" in line and "timeout" in line for line in lines)
    assert any("PROCESSOR_SERVICE_URL" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    ["", "7", "[", "- path: [", "{}", "a: &a [*a]", "\0", "- - -", "routes: 1"],
    ids=repr,
)
def test_a_file_that_is_no_routes_file_is_one_line(tmp_path: Path, text: str) -> None:
    assert len(faults_of(tmp_path, text)) == 1


def test_a_missing_file_is_one_line() -> None:
    ended = run_gateway("serve", "--routes", "nowhere.yaml", *PORTS)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "nowhere.yaml" in ended.stderr


@pytest.mark.parametrize("secret", ["", "too-short"])
def test_a_missing_or_short_secret_is_reported_and_not_repeated(
    tmp_path: Path, secret: str
) -> None:
    variables = {"PROCESSOR_SERVICE_URL": "http://127.0.0.1:1", "GATEWAY_JWT_SECRET": secret}
    lines = faults_of(tmp_path, SIX_LINES, **variables)
    assert len(lines) == 1
    assert "GATEWAY_JWT_SECRET" in lines[0]
    assert "too-short" not in lines[0]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    file = routes_file(tmp_path, SIX_LINES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ("--host", "127.0.0.1", "--port", port, "--ops-port", "0")
        env = environment(PROCESSOR_SERVICE_URL="http://127.0.0.1:1")
        ended = run_gateway("serve", "--routes", file, *arguments, env=env)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["serve", "--nonsense"],
        ["serve", "--port", "abc"],
        ["serve", "--port", "70000"],
        ["serve", "--drain-timeout", "soon"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_2(arguments: list[str]) -> None:
    ended = run_gateway(*arguments)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr


@pytest.mark.parametrize("command", ["serve", "check", "token", "sample-backend", "demo"])
def test_every_command_explains_itself(command: str) -> None:
    ended = run_gateway(command, "--help")
    assert ended.returncode == 0
    assert "usage" in ended.stdout.lower()


def test_options_come_from_variables_too(tmp_path: Path) -> None:
    env = environment(
        GATEWAY_ROUTES=routes_file(tmp_path, SIX_LINES),
        GATEWAY_HOST="127.0.0.1",
        GATEWAY_PORT="0",
        GATEWAY_OPS_PORT="0",
        GATEWAY_DRAIN_DELAY="0s",
        GATEWAY_DRAIN_TIMEOUT="1s",
        PROCESSOR_SERVICE_URL="http://127.0.0.1:1",
    )
    gateway = GatewayProcess("serve", env=env)
    gateway.await_listening()
    assert gateway.stop() == 0


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    env = environment(
        GATEWAY_DRAIN_TIMEOUT="soon",
        PROCESSOR_SERVICE_URL="http://127.0.0.1:1",
    )
    ended = run_gateway("serve", "--routes", routes_file(tmp_path, SIX_LINES), *PORTS, env=env)
    assert ended.returncode in (1, 2)
    assert "GATEWAY_DRAIN_TIMEOUT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_console_lines_are_for_people(tmp_path: Path) -> None:
    env = environment(GATEWAY_LOG_FORMAT="console", PROCESSOR_SERVICE_URL="http://127.0.0.1:1")
    gateway = GatewayProcess("serve", "--routes", routes_file(tmp_path, SIX_LINES), *PORTS, env=env)
    gateway.await_output("listening")
    assert gateway.stop() == 0
    assert '{"' not in gateway.output


def test_check_shows_the_routes(tmp_path: Path) -> None:
    file = routes_file(tmp_path, SIX_LINES)
    ended = run_gateway("check", file, env=environment(PROCESSOR_SERVICE_URL="http://svc:81"))
    assert ended.returncode == 0, ended.stderr
    assert "/api/v1/process/stream" in ended.stdout
    assert "SSE progress stream" in ended.stdout


def test_check_without_the_environment_needs_no_variables(tmp_path: Path) -> None:
    ended = run_gateway("check", "--no-env", routes_file(tmp_path, SIX_LINES))
    assert ended.returncode == 0, ended.stderr


def test_check_reports_faults_as_serve_does(tmp_path: Path) -> None:
    file = routes_file(tmp_path, SIX_LINES.replace("method", "metod"))
    ended = run_gateway("check", "--no-env", file)
    assert ended.returncode == 1
    assert "routes.yaml:3:3" in ended.stderr + ended.stdout
    assert "method" in ended.stderr + ended.stdout


async def test_a_printed_token_opens_the_route(
    connect: Connect, service: Upstream, tmp_path: Path
) -> None:
    env = environment(PROCESSOR_SERVICE_URL=f"http://127.0.0.1:{service.port}")
    file = routes_file(tmp_path, SIX_LINES)
    printed = run_gateway("token", "--routes", file, "--ttl", "1m", env=env).stdout.strip()
    gateway = GatewayProcess.serve(SIX_LINES, tmp_path, env=env)
    try:
        client = await connect(gateway.port)
        got = await client.fetch(f"/api/v1/process/stream?token={printed}")
        assert got.status == 200
    finally:
        assert gateway.stop() == 0
