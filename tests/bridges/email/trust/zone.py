"""A small world of DNS: in memory, and as a server over real UDP and TCP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from bridge_core.demo.ports import free_port
from bridges.email.trust.names import DnsTroubleError

Records = dict[str, dict[str, list[str]]]
"""By name and type; `{"TROUBLE": []}` does not answer."""


class Zone:
    """`Names` in memory. `asked` are all questions in order."""

    def __init__(self, records: Records | None = None) -> None:
        self.records = records or {}
        self.asked: list[str] = []

    def _find(self, name: str, kind: str) -> list[str]:
        self.asked.append(f"{kind} {name}")
        found = self.records.get(name.lower(), {})
        if "TROUBLE" in found:
            raise DnsTroubleError(name)
        return found.get(kind, [])

    async def txt(self, name: str) -> Sequence[str]:
        return self._find(name, "TXT")

    async def addresses(self, name: str, *, v6: bool) -> Sequence[str]:
        return self._find(name, "AAAA" if v6 else "A")

    async def mx(self, name: str) -> Sequence[str]:
        return self._find(name, "MX")

    async def pointers(self, address: str) -> Sequence[str]:
        return self._find(ip_address(address).reverse_pointer, "PTR")


class Server(asyncio.DatagramProtocol):
    """A DNS server. `silent` names get no answer, `broken` ones SERVFAIL; long answers are cut over UDP."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.port = 0
        self._udp: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._udp = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._answer(data, "udp")
        if answer is not None and self._udp is not None:
            if len(answer.to_wire(max_size=65535)) > 1200:
                answer = dns.message.make_response(dns.message.from_wire(data))
                answer.flags |= dns.flags.TC
            self._udp.sendto(answer.to_wire(), address)

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self._answer(await reader.readexactly(size), "tcp")
        if answer is not None:
            wire = answer.to_wire(max_size=65535)
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
        writer.close()

    def _answer(self, data: bytes, how: str) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{how} {kind} {name}")
        if name in self.silent:
            return None
        answer = dns.message.make_response(query)
        found = self.records.get(name)
        if name in self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found.get(kind):
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found[kind]))
        return answer


@asynccontextmanager
async def served(records: Records) -> AsyncIterator[Server]:
    """A server on a free port of loopback."""
    server = Server(records)
    server.port = free_port()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", server.port))
    listening = await asyncio.start_server(server.tcp, "127.0.0.1", server.port)
    try:
        yield server
    finally:
        transport.close()
        listening.close()
        await listening.wait_closed()
