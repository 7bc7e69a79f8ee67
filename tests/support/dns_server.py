"""A DNS server of the tests' own, whose answers they set, and which counts what it is asked."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsServer(asyncio.DatagramProtocol):
    """Answers over UDP. A name that it does not know does not exist (NXDOMAIN)."""

    def __init__(self) -> None:
        self.addresses: dict[str, tuple[str, ...]] = {}
        self.ttl = 1
        self.silent: set[str] = set()  # names whose questions get no answer
        self.asked: Counter[str] = Counter()  # names, by questions of type A
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def place(self) -> str:
        """What GATEWAY_DNS_SERVERS is to be."""
        return f"127.0.0.1:{self.port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name] += kind == "A"
        if name in self.silent or self._transport is None:
            return
        answer = dns.message.make_response(query)
        if name not in self.addresses:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        of_kind = [
            address
            for address in self.addresses.get(name, ())
            if (":" in address) == (kind == "AAAA")
        ]
        if of_kind:
            answer.answer = [dns.rrset.from_text(question.name, self.ttl, "IN", kind, *of_kind)]
        self._transport.sendto(answer.to_wire(), addr)

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator["DnsServer"]:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(cls, ("127.0.0.1", 0))
        server.port = transport.get_extra_info("sockname")[1]
        try:
            yield server
        finally:
            transport.close()
