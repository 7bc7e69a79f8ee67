"""A collector of spans: it takes OTLP over HTTP, and keeps the spans."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

PATIENCE = 15.0  # seconds


class Collector:
    """Listens on `endpoint` and decodes what comes."""

    endpoint: str

    def __init__(self) -> None:
        self.resources: list[ResourceSpans] = []
        self._news = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator[Self]:
        collector = cls()
        app = web.Application()
        app.router.add_post("/v1/traces", collector._take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
        await runner.cleanup()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for resource in self.resources
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    async def span(self, trace_id: str) -> Span:
        """Wait for the one span of a trace."""
        wanted = bytes.fromhex(trace_id)
        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(lambda: any(s.trace_id == wanted for s in self.spans))
        [found] = [span for span in self.spans if span.trace_id == wanted]
        return found

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        async with self._news:
            self.resources += ExportTraceServiceRequest.FromString(body).resource_spans
            self._news.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def attributes(span: Span) -> dict[str, str | int]:
    """The attributes of a span, as plain values."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
