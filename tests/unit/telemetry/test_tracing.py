"""Spans are sent where the standard variables say so; without them nothing is imported."""

import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from gateway.telemetry.opentelemetry import Tracer
from gateway.telemetry.tracing import tracer

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

ASK = """\
import sys
{before}
from gateway.telemetry.tracing import tracer
assert tracer({environ}) is None
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def asked_alone(environ: dict[str, str], before: str = "") -> str:
    """Ask in an interpreter of its own, where no tracer comes of it. Gives what it wrote."""
    code = ASK.format(environ=environ, before=before)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_where_nobody_asks_nothing_is_imported(environ: dict[str, str]) -> None:
    assert asked_alone(environ) == "[]\n"


async def test_where_the_variables_say_where_there_is_a_tracer() -> None:
    made = tracer(ENDPOINT)
    assert isinstance(made, Tracer)
    await made.close()


@pytest.mark.parametrize(
    "name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
)
def test_another_protocol_is_reported_with_a_fix(name: str) -> None:
    with capture_logs() as lines:
        assert tracer({**ENDPOINT, name: "grpc"}) is None
    [line] = lines
    assert (line["event"], line["log_level"]) == ("tracing_disabled", "warning")
    assert line["reason"] == f"{name} is grpc; the gateway speaks http/protobuf: set it to that"


def test_without_the_extra_the_error_says_what_to_install() -> None:
    """A finder that finds no OpenTelemetry stands for an environment that has none."""
    hide = """
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name.startswith("opentelemetry") else real(name)
"""
    reported = asked_alone(ENDPOINT, hide)
    assert "pip install 'gateway[otel]'" in reported
    assert reported.endswith("[]\n")
