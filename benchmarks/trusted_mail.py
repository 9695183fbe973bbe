"""Mails of people whose domains answer for them, and the DNS that says so: what checking who wrote a mail costs."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridges.email.composing.signing import BodyHash, Key, signature

#: Domains that write in turn. Each has records of its own, which are kept for their time once they were asked for.
DOMAINS: Final = 200
_SELECTOR: Final = "bench"
_PUBLISHED: Final = "records.far.test"


class Zone(asyncio.DatagramProtocol):
    """A DNS server: SPF fails for whoever asks, DMARC wants refused what is not signed, and there is one key for all.

    So a mail is only taken when its signature was checked.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._transport: Any = None
        self.port = 0

    @classmethod
    async def start(cls, key: str) -> Zone:
        """On a free port of loopback; UDP only."""
        loop = asyncio.get_running_loop()
        _, zone = await loop.create_datagram_endpoint(lambda: cls(key), local_addr=("127.0.0.1", 0))
        return zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.BaseProtocol.connection_made`."""
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Answer the question."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        answer = dns.message.make_response(query)
        text = self._text(name) if question.rdtype == dns.rdatatype.TXT else None
        if text is not None:
            pieces = " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
            answer.answer.append(dns.rrset.from_text(question.name, 3600, "IN", "TXT", pieces))
        elif question.rdtype == dns.rdatatype.TXT:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)

    def close(self) -> None:
        """Answer no more."""
        self._transport.close()

    def _text(self, name: str) -> str | None:
        if name.startswith("_dmarc.d"):
            return "v=DMARC1; p=reject; adkim=s; rua=mailto:reports@far.test"
        if name.startswith(f"{_SELECTOR}._domainkey."):
            return self._key
        if name == _PUBLISHED:
            return "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"
        return f"v=spf1 include:{_PUBLISHED} ip4:198.51.100.0/24 -all" if name.startswith("d") else None


class SignedMails:
    """Mails of a size, each of its own, signed with RSA of 2048 bits as nearly all are."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._key: RSAPrivateKey = generate_private_key(65537, 2048)
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        self._made = 0

    def make(self, count: int) -> Sequence[tuple[str, bytes]]:
        """So many: who sends each, and its bytes with the dot behind."""
        return list(self._mails(count))

    def _mails(self, count: int) -> Iterator[tuple[str, bytes]]:
        for _ in range(count):
            self._made += 1
            domain = f"d{self._made % DOMAINS}.far.test"
            fields = [
                f"From: Person <p@{domain}>\r\n".encode(),
                b"To: a@bench.test\r\n",
                f"Subject: Number {self._made}\r\n".encode(),
                b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n",
                f"Message-ID: <{self._made}@{domain}>\r\n".encode(),
                b"MIME-Version: 1.0\r\n",
                b"Content-Type: text/plain; charset=utf-8\r\n",
            ]
            line = b"A line of a letter that has many words in it, as letters have.\r\n"
            body = line * (self._size // len(line))
            hashed = BodyHash()
            hashed.feed(body)
            signed = signature(Key(domain, _SELECTOR, self._key), fields, hashed.digest(), 1_700_000_000)
            yield f"p@{domain}", b"".join((signed, *fields, b"\r\n", body, b".\r\n"))


async def hand_over(port: int, mails: Sequence[tuple[str, bytes]], at_once: int) -> bool:
    """A connection for each mail, so many at once. Whether the server took them all."""
    left = iter(mails)

    async def talk() -> bool:
        for sender, mail in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for words in (b"", b"HELO x\r\n", f"MAIL FROM:<{sender}>\r\n".encode(), b"RCPT TO:<a@bench.test>\r\n"):
                    writer.write(words)
                    if not (await reader.readline()).startswith(b"2"):
                        return False
                writer.write(b"DATA\r\n")
                await reader.readline()
                writer.write(mail)
                if not (await reader.readline()).startswith(b"250"):
                    return False
            finally:
                writer.close()
        return True

    return all(await asyncio.gather(*(talk() for _ in range(at_once))))
