"""Small JSON over connections that are kept, driven by wrk; and what a token costs then."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from dataclasses import replace

from bench.meter import TokenBucket
from bench.peer import Running
from bench.peers import SECRET
from bench.processes import BenchError
from bench.report import Figure, Sample
from bench.stage import Stage

FIGURES = (
    Figure("rate", "requests/s"),
    Figure("cpu", "CPU µs per request"),
)
TOKEN_FIGURES = (
    Figure("rate", "requests/s without", has_ratio=False),
    Figure("token_rate", "with a token", has_ratio=False),
    Figure("share", "with / without", has_ratio=False),
    Figure("cpu", "CPU µs without", has_ratio=False),
    Figure("token_cpu", "CPU µs with", has_ratio=False),
)
CONNECTIONS = 32
_REQUESTS = re.compile(r"(\d+) requests in")
_RATE = re.compile(r"Requests/sec:\s*([\d.]+)")
_FAULTS = re.compile(
    r"(?:Non-2xx or 3xx responses: (\d+))|(?:(?:connect|read|write|timeout) (\d+))"
)


def token() -> str:
    """A token that the gateway takes, for the next hour."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    claims = encode(json.dumps({"sub": "bench", "exp": int(time.time()) + 3600}).encode())
    signed = f"{header}.{claims}"
    return f"{signed}.{encode(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


async def _wrk(running: Running, stage: Stage, path: str, *options: str) -> Sample:
    url = f"http://127.0.0.1:{running.port(path)}{path}"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", *options]
    await _run(*command, "-d1s", url)
    with TokenBucket(running) as spent:
        said = await _run(*command, f"-d{max(1, round(stage.window))}s", url)
    requests, rate = _REQUESTS.search(said), _RATE.search(said)
    if requests is None or rate is None:
        raise BenchError(f"wrk said: {said[-300:]}")
    faults = sum(int(count or other) for count, other in _FAULTS.findall(said))
    values = {"rate": float(rate[1]), **spent.cpu_per(int(requests[1]))}
    return spent.sample(values, faults)


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await process.communicate()
    except BaseException:
        process.kill()
        raise
    return said.decode()


async def measure(running: Running, stage: Stage) -> Sample:
    """Measure a peer."""
    return await _wrk(running, stage, "/json")


async def measure_token(running: Running, stage: Stage) -> Sample:
    """Measure the gateway without a token, and with one."""
    without = await _wrk(running, stage, "/json")
    header = f"Authorization: Bearer {token()}"
    having = await _wrk(running, stage, "/token/json", "-H", header)
    values = {
        **without.values,
        "token_rate": having.values["rate"],
        "token_cpu": having.values["cpu"],
        "share": having.values["rate"] / without.values["rate"],
    }
    return replace(having, values=values, faults=without.faults + having.faults)
