"""Debian's Firefox, headless, in a page that does what a test says and reports what it saw.

No driver is needed: the page asks a server of the tests' own for the next script to run, and sends
back what comes of it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

EXECUTABLE = "/usr/bin/firefox-esr"
PATIENCE = 60.0  # seconds for a script; the first one waits for the browser's start
# No traffic of its own, and no pages that ask for something.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "browser.search.update": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/v1",
    "toolkit.telemetry.enabled": False,
}
PAGE = """<!doctype html><title>A page</title><script type="module">
for (;;) {
  const { number, code, argument } = await (await fetch("/next")).json();
  let seen;
  try {
    seen = { value: await (0, eval)(`(${code})`)(argument) };
  } catch (error) {
    seen = { error: String(error) };
  }
  await fetch(`/seen/${number}`, { method: "POST", body: JSON.stringify(seen) });
}
</script>"""


class Firefox:
    """A page in Firefox. Its `origin` is that of the server of the tests."""

    def __init__(self) -> None:
        self.origin = ""
        self._asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._seen: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def evaluate(self, code: str, argument: object = None) -> Any:
        """Call a function of JavaScript in the page, and give what it resolves to."""
        number = len(self._seen)
        seen = self._seen[number] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait({"number": number, "code": code, "argument": argument})
        async with asyncio.timeout(PATIENCE):
            reported = await seen
        assert "error" not in reported, reported["error"]
        return reported.get("value")

    @classmethod
    @asynccontextmanager
    async def running(cls, profile: Path) -> AsyncIterator["Firefox"]:
        """Run one inside the block, with its profile in this empty folder."""
        firefox = cls()
        runner = web.AppRunner(firefox._app(), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        firefox.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in PREFERENCES.items()
        )
        (profile / "user.js").write_text("".join(lines))
        process = await asyncio.create_subprocess_exec(
            *(EXECUTABLE, "--headless", "--no-remote", "--profile", str(profile), firefox.origin),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield firefox
        finally:
            process.kill()
            await process.wait()
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/blank", self._blank)
        app.router.add_get("/next", self._next)
        app.router.add_post("/seen/{number}", self._take)
        return app

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _blank(self, _request: web.Request) -> web.Response:
        """A page for another browser, of the same origin."""
        return web.Response(text="<!doctype html><title>A page</title>", content_type="text/html")

    async def _next(self, _request: web.Request) -> web.Response:
        return web.json_response(await self._asked.get())

    async def _take(self, request: web.Request) -> web.Response:
        self._seen[int(request.match_info["number"])].set_result(await request.json())
        return web.Response()
