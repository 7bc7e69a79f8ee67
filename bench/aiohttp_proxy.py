"""A plain streaming proxy of aiohttp on uvloop: what one writes who needs a proxy by tonight.

Run with the ports: its own, that of the events, and that of the files.
"""

import asyncio
import sys
from collections.abc import Mapping

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
FILES = ("/json", "/files")


def passed_on(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers without those that are about one connection."""
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP]


class Proxy:
    """The client's defaults are overridden where they would cut a stream, or hold one up."""

    def __init__(self, events: str, files: str) -> None:
        self._events = f"http://127.0.0.1:{events}"
        self._files = f"http://127.0.0.1:{files}"
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """Answer a request with what the service answers."""
        base = self._files if request.path.startswith(FILES) else self._events
        async with self._client.request(
            request.method,
            base + request.raw_path,
            headers=passed_on(request.headers),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=passed_on(answer.headers))
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def main() -> None:
    """Serve until killed."""
    port, events, files = sys.argv[1:]
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{tail:.*}", Proxy(events, files).pass_on)
    # Without cancellation a browser that leaves an idle stream would go unnoticed.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
