"""The demo: a gateway, the sample backend behind it and a page, with a throw-away key."""

import asyncio
from pathlib import Path

from gateway.config.loader import load
from gateway.runtime.settings import Settings
from gateway.runtime.single_process import SingleProcess
from gateway.sample.backend import running
from gateway.sample.login import Login

ROUTES = Path(__file__).parent / "sample" / "routes.yaml"
LOOPBACK = "127.0.0.1"


async def demo(port: int) -> None:
    """Run all of it on loopback until a signal comes."""
    login = Login()
    async with running(login) as backend_url:
        environ = {
            "PROCESSOR_SERVICE_URL": backend_url,
            "GATEWAY_PUBLIC_KEY": login.public_key_pem,
        }
        settings = Settings(host=LOOPBACK, port=port, ops_port=0, drain_timeout=0.0)
        gateway = SingleProcess(load(ROUTES, environ), settings)
        serving = asyncio.ensure_future(gateway.run())
        await asyncio.wait(
            [serving, asyncio.ensure_future(gateway.started.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        if gateway.started.is_set():
            print(  # noqa: T201 - what the person who ran it waits for
                f"\n  Open http://{LOOPBACK}:{gateway.port}/  (Ctrl-C ends it)\n", flush=True
            )
        await serving
