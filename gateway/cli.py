"""The commands. An error of the user is one line on stderr and exit 1, or 2 for wrong usage."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import jwt
import uvloop

from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, load, load_auth
from gateway.config.model import Auth, Route
from gateway.config.schema import schema_text
from gateway.config.units import duration
from gateway.demo import demo
from gateway.http import chunked
from gateway.open_files import raise_limit
from gateway.runtime import cores
from gateway.runtime.lifecycle import StartupError
from gateway.runtime.settings import Settings
from gateway.runtime.single_process import SingleProcess
from gateway.runtime.supervisor import Supervisor
from gateway.sample.backend import serve as serve_sample
from gateway.telemetry.logging import configure_logging

FAULT = 1
INTERRUPTED = 130  # 128 and the number of SIGINT, as in shells
MAX_WORKERS = 256
LOG_FORMATS = ("json", "console")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class Fault(Exception):
    """An error of the user that a command cannot work with, in one line."""


class Found(Exception):
    """A command found the faults that it looks for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    options = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except (ConfigError, StartupError, Fault) as fault:
        print(
            f"{fault}" if isinstance(fault, ConfigError) else f"gateway: {fault}", file=sys.stderr
        )
        return FAULT
    except Found:
        return FAULT
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"gateway: {place}{error.strerror or error}", file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:  # before a command has a handler of its own
        return INTERRUPTED
    return 0


# Commands


def _serve(options: argparse.Namespace) -> None:
    configure_logging(options.log_format, options.log_level)
    raise_limit()
    source = Source(options.routes, os.environ)
    config = load(options.routes, os.environ)
    settings = Settings(
        options.host, options.port, options.ops_port, options.drain_delay, options.drain_timeout
    )

    async def serve() -> None:
        if options.workers == 1:
            await SingleProcess(config, settings, source).run()
        else:
            await Supervisor(
                settings,
                source,
                options.workers,
                log_format=options.log_format,
                log_level=options.log_level,
            ).run()

    _run(serve())


def _check(options: argparse.Namespace) -> None:
    config = load(options.routes, os.environ if options.env else None)
    rows: list[tuple[str, ...]] = [("METHOD", "PATH", "UPSTREAM", "AUTH", "TIMEOUT", "DESCRIPTION")]
    rows += [_row(route) for route in config.routes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())
    count = len(config.routes)
    print(f"\n{options.routes}: {count} route{'' if count == 1 else 's'}, no faults")


def _row(route: Route) -> tuple[str, ...]:
    methods = ",".join(sorted(route.methods - {"HEAD"} or route.methods)) or "all"
    auth = " ".join(["token", *route.scopes]) if route.auth_required else "-"
    return (
        methods,
        route.path,
        ",".join(upstream.url for upstream in route.upstreams),
        auth,
        _seconds(route.timeouts.total),
        " ".join(route.description.split()),
    )


def _seconds(bound: float | None) -> str:
    return "none" if bound is None else f"{bound:g}s"


def _token(options: argparse.Namespace) -> None:
    auth = load_auth(options.routes, os.environ)
    if not auth.has_key:
        raise Fault(
            f"{options.routes} has no secret to sign with: set GATEWAY_JWT_SECRET in the"
            " environment, or auth.secret in the file"
        )
    if auth.secret is None:
        raise Fault(
            f"{options.routes} verifies tokens with a public key, so only the owner of its private"
            " key can make one; `gateway token` needs an HMAC secret (auth.secret)"
        )
    print(_signed(auth, auth.secret, options))


def _signed(auth: Auth, secret: str, options: argparse.Namespace) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {"sub": options.sub, "iat": now, "exp": now + int(options.ttl)}
    if auth.issuer is not None:
        claims["iss"] = auth.issuer
    if auth.audience:
        claims["aud"] = auth.audience[0]
    if options.scope:
        claims["scope"] = " ".join(options.scope)
    return jwt.encode(claims | dict(options.claim), secret, algorithm=auth.algorithms[0])


def _probe(options: argparse.Namespace) -> None:
    # Its client takes as long to import as all of `gateway check`.
    from gateway.probe import (  # noqa: PLC0415
        client,
        findings,
        report,
    )

    try:
        url = client.target(options.url)
        print(f"probing {url.with_query(None)}, for {options.idle:g}s and a bit", file=sys.stderr)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seen = runner.run(client.observe(url, options.token, options.idle, _progress))
    except client.ProbeError as error:
        raise Fault(str(error)) from None
    finally:
        _progress("")
    found = findings.findings(seen)
    print((report.as_json if options.json else report.in_words)(seen, found))
    if any(finding.is_fault for finding in found):
        raise Found


def _progress(text: str) -> None:
    """Show this text in place of the one before, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _schema(_: argparse.Namespace) -> None:
    print(schema_text())


def _sample_backend(options: argparse.Namespace) -> None:
    configure_logging(options.log_format, options.log_level)
    _run(serve_sample(options.host, options.port))


def _demo(options: argparse.Namespace) -> None:
    configure_logging("console", "info")
    _run(demo(options.port))


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


# Options


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway", description="An API gateway and reverse proxy made for streaming upstreams."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    serve = _command(commands, "serve", _serve, "run the gateway")
    _add_routes(serve)
    _add_address(serve, host="0.0.0.0", port=8080)  # noqa: S104 - a front is meant to be reached
    _add(serve, "--ops-port", _port, 9090, "port for health and metrics")
    _add(serve, "--workers", _workers, 1, "processes that serve; auto: one per core")
    _add(serve, "--drain-delay", _duration, "0s", "after SIGTERM, go on serving this long")
    _add(serve, "--drain-timeout", _duration, "30s", "then wait this long for streams to finish")
    _add_logging(serve)

    check = _command(commands, "check", _check, "validate routes.yaml and show its routes")
    check.add_argument(
        "routes", nargs="?", default=os.environ.get("GATEWAY_ROUTES") or "routes.yaml"
    )
    check.add_argument(
        "--no-env", dest="env", action="store_false", help="do not read the environment"
    )

    token = _command(commands, "token", _token, "print a token, for development")
    _add_routes(token)
    token.add_argument("--sub", default="developer", metavar="NAME", help="subject of the token")
    token.add_argument("--ttl", type=_lifetime, default="5m", help="how long it is valid")
    token.add_argument(
        "--scope",
        action="append",
        default=[],
        metavar="S",
        help="scope of the token; may be repeated",
    )
    token.add_argument(
        "--claim",
        action="append",
        default=[],
        type=_claim,
        metavar="K=V",
        help="further claim; may be repeated",
    )

    _command(commands, "schema", _schema, "print the JSON Schema of routes.yaml, for editors")

    probe = _command(
        commands,
        "probe",
        _probe,
        "test the path from a client to the gateway (buffering, compression, idle cuts)",
    )
    probe.add_argument(
        "url", metavar="URL", help="public URL of the gateway, for example https://api.example.com"
    )
    probe.add_argument("--token", help="a valid token")
    probe.add_argument("--idle", type=_lifetime, default="65s", help="longest idle period to test")
    probe.add_argument("--json", action="store_true", help="print the result as JSON")

    backend = _command(commands, "sample-backend", _sample_backend, "run the sample backend")
    backend.add_argument("--host", default="127.0.0.1", help="address to listen on")
    backend.add_argument("--port", type=_port, default=8081, help="port to listen on")
    _add_logging(backend)

    show = _command(commands, "demo", _demo, "run gateway, sample backend and a page")
    show.add_argument("--port", type=_port, default=8080, help="port of the page")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_version())
        parser.exit()


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - it would slow each start

    form = "pure Python" if chunked.__file__.endswith(".py") else "compiled"
    return f"gateway {version('gateway')} (data plane: {form})"


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add(
    command: argparse.ArgumentParser,
    option: str,
    parse: Callable[[str], object],
    default: object,
    text: str,
) -> None:
    """Adds an option that a GATEWAY_* variable can set; an error names the variable."""
    name = option.removeprefix("--").replace("-", "_").upper()
    value = os.environ.get(f"GATEWAY_{name}")

    def parse_given(given: str) -> object:
        try:
            return parse(given)
        except argparse.ArgumentTypeError as error:
            message = f"{error} (from GATEWAY_{name})" if given == value else str(error)
            raise argparse.ArgumentTypeError(message) from None

    command.add_argument(
        option, type=parse_given, default=value or str(default), help=f"{text} [GATEWAY_{name}]"
    )


def _add_routes(command: argparse.ArgumentParser) -> None:
    _add(command, "--routes", str, "routes.yaml", "path to routes.yaml")


def _add_address(command: argparse.ArgumentParser, host: str, port: int) -> None:
    _add(command, "--host", str, host, "address to listen on")
    _add(command, "--port", _port, port, "port to listen on")


def _add_logging(command: argparse.ArgumentParser) -> None:
    _add(command, "--log-format", _one_of(LOG_FORMATS), "json", "json or console")
    _add(command, "--log-level", _one_of(LOG_LEVELS), "info", "minimum log level")


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(choices)}, not {text!r}")
        return text

    return parse


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:  # noqa: PLR2004 - the largest port
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, not {text!r}")
    return int(text)


def _workers(text: str) -> int:
    if text == "auto":
        return cores.usable()
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be auto, or 1 to {MAX_WORKERS}, not {text!r}")
    return int(text)


def _duration(text: str) -> float:
    """Returns seconds, with a limit, because an endless wait would keep the process from ending."""
    try:
        seconds = duration(text, zero_allowed=True)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from None
    if seconds is None:
        raise argparse.ArgumentTypeError("must have a limit, such as 30s")
    return seconds


def _lifetime(text: str) -> float:
    seconds = _duration(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError("must be 1s or more")
    return seconds


def _claim(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value
