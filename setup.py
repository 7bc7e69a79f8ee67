"""Compiles the data plane with mypyc; the rest of the build is in pyproject.toml.

The compiled modules are the same files that run as they are where nothing was compiled: in an
editable install, without a C compiler, or on request (GATEWAY_BUILD=pure).
"""

import os
import sys

from mypyc.build import mypycify
from setuptools import Extension, setup

# The build needs no dependency of the package: what comes from one is taken as it comes. It is
# the type check of the whole that knows them.
OPTIONS = ["--config-file=", "--no-site-packages", "--ignore-missing-imports"]
# None of these has a coroutine: a compiled one is thrown into in a way that Python 3.12 deprecates.
DATA_PLANE = [
    "gateway/telemetry/exchange.py",
    "gateway/telemetry/counters.py",
    "gateway/server/timer.py",
    "gateway/http/forwarded.py",
    "gateway/config/model.py",
    "gateway/auth/cors.py",
    "gateway/auth/credentials.py",
    "gateway/http/headers.py",
    "gateway/http/header_edits.py",
    "gateway/http/paths.py",
    "gateway/http/trace_context.py",
    "gateway/http/message_heads.py",
    "gateway/http/request_parser.py",
    "gateway/http/own_response.py",
    "gateway/http/problem.py",
    "gateway/server/head_limits.py",
    "gateway/server/request_body.py",
    "gateway/server/connection.py",
    "gateway/server/request.py",
    "gateway/proxy/replies.py",
    "gateway/proxy/router.py",
    "gateway/server/socket_writer.py",
    "gateway/http/chunked.py",
    "gateway/http/response_parser.py",
    "gateway/upstream/connection.py",
    "gateway/proxy/deadlines.py",
    "gateway/proxy/response_pump.py",
    "gateway/http/event_stream.py",
    "gateway/proxy/heartbeat.py",
    "gateway/proxy/event_stream_pump.py",
    "gateway/http/websocket_frames.py",
    "gateway/proxy/websocket_tunnel.py",
    "gateway/proxy/compiled_route.py",
    "gateway/proxy/authenticate.py",
    "gateway/proxy/preparation.py",
]


def extensions() -> list[Extension]:
    """What to compile: all of it for a wheel. A failure to do so is reported, and no more."""
    is_asked_for = not {"bdist_wheel", "build_ext"}.isdisjoint(sys.argv)
    if not is_asked_for or os.environ.get("GATEWAY_BUILD") == "pure":
        return []
    compiled: list[Extension] = mypycify([*OPTIONS, *DATA_PLANE], group_name="gateway")
    for extension in compiled:
        extension.optional = True
    return compiled


setup(ext_modules=extensions())
