"""The commands do what they say, and a fault is one line on stderr, never a traceback."""

import os
import re
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from gateway.cli import main
from gateway.config.schema import schema_text
from gateway.telemetry import logging

SECRET = "a secret of thirty-two bytes, yes"
COMMANDS = ["serve", "check", "token", "schema", "sample-backend", "demo"]
ROUTES = """\
- path: /open
  method: [GET, POST]
  proxy_upstream: http://a:8080/base
  auth_required: false
  timeout: none
  description: |
    Anyone
    may
- path: /jobs/{id}
  method: GET
  proxy_upstream: $SERVICE_URL
  scopes: [jobs:read, jobs:write]
  timeout: 1h30m
- path: /other
  proxy_upstream: unix:/run/other.sock
- path: /heads
  method: HEAD
  proxy_upstream: https://a
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of the test's own, a known environment, and logging as it was."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "HOST",
        "PORT",
        "OPS_PORT",
        "ROUTES",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "DRAIN_TIMEOUT",
        "WORKERS",
    ):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    monkeypatch.setenv("GATEWAY_JWT_SECRET", SECRET)
    monkeypatch.setenv("SERVICE_URL", "http://service:9000")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(logging._requests, "sink", None)
    (tmp_path / "routes.yaml").write_text(ROUTES)
    yield
    logging.close_logging()
    structlog.reset_defaults()
    vars(logging.log).pop("bind", None)  # the logger that it keeps writes where this test did


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; give its exit code, and what it wrote to stdout and stderr."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as left:  # argparse leaves so
            code = int(left.code or 0)
        written = capsys.readouterr()
        return code, written.out, written.err

    return run_it


# Usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: gateway {command}")


def test_the_help_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)


def test_the_version_is_the_packages_and_names_the_form_that_runs(run: Run) -> None:
    form = {"pure": "pure Python", "compiled": "compiled"}[os.environ.get("FORM", "pure")]
    expected = f"gateway {version('gateway')} (data plane: {form})\n"
    assert run("--version") == (0, expected, "")


def test_the_help_of_serve_names_the_variable_and_default_of_every_option(run: Run) -> None:
    out = run("serve", "--help")[1]
    options = ("routes", "host", "port", "ops-port", "workers", "drain-delay", "drain-timeout")
    for option in options:
        assert f"--{option}" in out
        assert f"[GATEWAY_{option.upper().replace('-', '_')}]" in out
    assert "(default: 30s)" in out


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        ((), "COMMAND"),
        (("fly",), "'fly'"),
        (("serve", "--port", "65536"), "must be a port from 0 to 65535, not '65536'"),
        (("serve", "--port", "-1"), "'-1'"),
        (("serve", "--ops-port", "http"), "'http'"),
        (("serve", "--port", "9" * 5000), "--port"),
        (("serve", "--workers", "0"), "must be auto, or 1 to 256, not '0'"),
        (("serve", "--workers", "257"), "'257'"),
        (("serve", "--workers", "many"), "'many'"),
        (("serve", "--drain-timeout", "none"), "must have a limit, such as 30s"),
        (("serve", "--drain-timeout", "5"), "not '5'"),
        (("serve", "--log-format", "xml"), "must be one of json, console, not 'xml'"),
        (("serve", "--log-level", "loud"), "'loud'"),
        (("token", "--ttl", "0s"), "must be 1s or more"),
        (("token", "--ttl", "500ms"), "must be 1s or more"),
        (("token", "--ttl", "none"), "must have a limit"),
        (("token", "--claim", "role"), "must be NAME=VALUE, not 'role'"),
        (("token", "--claim", "=admin"), "must be NAME=VALUE"),
        (("demo", "--port", "x"), "'x'"),
        (("sample-backend", "--port", "x"), "'x'"),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], reported: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert reported in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_wrong_variable_is_named_and_an_option_outdoes_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "many")
    code, _, err = run("serve")
    assert code == 2
    assert "(from GATEWAY_PORT)" in err
    code, _, err = run("serve", "--port", "x")
    assert "GATEWAY_PORT)" not in err.splitlines()[-1]


@pytest.mark.parametrize("command", ["check", "token"])
def test_an_empty_variable_is_as_good_as_none(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("GATEWAY_ROUTES", "")
    code, _, err = run(command)
    assert (code, err) == (0, "")


# Check


def test_check_shows_a_table_of_the_routes(run: Run) -> None:
    code, out, err = run("check")
    assert (code, err) == (0, "")
    cells = [re.split(r" {2,}", line) for line in out.splitlines()]
    assert cells == [
        ["METHOD", "PATH", "UPSTREAM", "AUTH", "TIMEOUT", "DESCRIPTION"],
        ["GET,POST", "/open", "http://a:8080/base", "-", "none", "Anyone may"],
        ["GET", "/jobs/{id}", "http://service:9000", "token jobs:read jobs:write", "5400s"],
        ["all", "/other", "unix:/run/other.sock", "token", "none"],
        ["HEAD", "/heads", "https://a", "token", "none"],
        [""],
        ["routes.yaml: 4 routes, no faults"],
    ]


def test_check_counts_a_single_route_as_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("- path: /a\n  proxy_upstream: http://a\n")
    assert run("check", "one.yaml")[1].endswith("one.yaml: 1 route, no faults\n")


def test_the_schema_is_printed_without_any_file_or_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_ROUTES", "/nowhere")
    assert run("schema") == (0, schema_text() + "\n", "")


def test_check_without_the_environment_needs_no_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SERVICE_URL")
    monkeypatch.delenv("GATEWAY_JWT_SECRET")
    assert run("check")[0] == 1
    assert run("check", "--no-env")[0] == 0


def test_every_fault_is_reported_at_once_with_its_place(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("- path: a\n  proxy_upstreem: http://a\n")
    code, out, err = run("check", "bad.yaml")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert len(lines) > 1
    assert all(re.match(r"bad\.yaml:\d+:\d+: ", line) for line in lines)
    assert "proxy_upstream" in err


@pytest.mark.parametrize("command", [["check", "none.yaml"], ["serve", "--routes", "none.yaml"]])
def test_a_missing_file_is_one_line(run: Run, command: list[str]) -> None:
    code, out, err = run(*command)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "none.yaml" in err


def test_a_folder_in_place_of_the_file_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    code, _, err = run("check", "folder")
    assert (code, len(err.splitlines())) == (1, 1)


# Token


def claims_of(out: str, **checks: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(out.strip(), SECRET, ["HS256"], **checks)  # type: ignore[arg-type]
    return claims


def test_a_token_is_for_a_developer_for_five_minutes(run: Run) -> None:
    code, out, err = run("token")
    assert (code, err, len(out.splitlines())) == (0, "", 1)
    claims = claims_of(out)
    assert set(claims) == {"sub", "iat", "exp"}
    assert claims["sub"] == "developer"
    assert isinstance(claims["exp"], int)
    assert claims["exp"] - 300 == claims["iat"]
    assert abs(time.time() - claims["exp"] + 300) < 60


def test_a_token_has_the_claims_of_the_options(run: Run) -> None:
    out = run(
        *("token", "--sub", "ada", "--ttl", "1h", "--scope", "a", "--scope", "b"),
        *("--claim", "role=x=y", "--claim", "team="),
    )[1]
    claims = claims_of(out)
    assert (claims["sub"], claims["scope"]) == ("ada", "a b")
    assert (claims["role"], claims["team"]) == ("x=y", "")


def test_a_token_fits_the_issuer_and_audience_of_the_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "auth.yaml").write_text(
        "auth:\n  issuer: https://issuer\n  audience: [one, two]\n  algorithms: [HS512]\n"
        "  secret: " + "s" * 64 + "\nroutes:\n- path: /a\n  proxy_upstream: http://a\n"
    )
    code, out, _ = run("token", "--routes", "auth.yaml")
    assert code == 0
    claims = jwt.decode(out.strip(), "s" * 64, ["HS512"], issuer="https://issuer", audience="one")
    assert claims["sub"] == "developer"


@pytest.mark.parametrize(
    "rest",
    [
        "routes:\n- path: a\n  proxy_upstreem: http://a\n",
        "routes:\n- path: /a\n  proxy_upstream: $NOT_SET_ANYWHERE\n",
        "limits: {redis: $NOT_SET_ANYWHERE}\n",
        "unknown: 1\n",
    ],
)
def test_a_token_needs_the_auth_part_of_the_file_alone(run: Run, tmp_path: Path, rest: str) -> None:
    (tmp_path / "part.yaml").write_text(f"auth: {{issuer: us, secret: {'s' * 64}}}\n{rest}")
    code, out, err = run("token", "--routes", "part.yaml")
    assert (code, err) == (0, "")
    assert jwt.decode(out.strip(), "s" * 64, ["HS256"])["iss"] == "us"


def test_a_list_of_routes_has_no_auth_part_and_the_token_the_usual_secret(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "list.yaml").write_text("- path: /a\n  proxy_upstream: $NOT_SET_ANYWHERE\n")
    code, out, _ = run("token", "--routes", "list.yaml")
    assert (code, claims_of(out)["sub"]) == (0, "developer")


def test_a_fault_in_the_auth_part_keeps_a_token_from_being_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("auth:\n  secret: short\n  isuer: us\nroutes: []\n")
    code, out, err = run("token", "--routes", "bad.yaml")
    assert (code, out) == (1, "")
    places = sorted(line.partition(": ")[0] for line in err.splitlines())
    assert places == ["bad.yaml:2:11", "bad.yaml:3:3"]


def test_with_no_key_at_all_the_line_says_how_to_give_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATEWAY_JWT_SECRET")
    code, out, err = run("token")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "set GATEWAY_JWT_SECRET" in err


def test_without_a_secret_there_is_no_token_to_make(run: Run, tmp_path: Path) -> None:
    pem = (
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "public.yaml").write_text(
        "auth:\n  algorithms: [EdDSA]\n  public_key: key.pem\n"
        "routes:\n- path: /a\n  proxy_upstream: http://a\n"
    )
    code, out, err = run("token", "--routes", "public.yaml")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith("gateway: public.yaml verifies tokens with a public key")
    assert "auth.secret" in err
