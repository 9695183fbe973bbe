"""ARC (RFC 8617): what a forwarder that we believe had found before it changed the mail."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from bridges.email.codec.authres import parse_results
from bridges.email.codec.canonical import BodyHash, canonical_field, signed_bytes, unsigned
from bridges.email.codec.dkim import SignatureField, instance_of, parse_seal, parse_signature
from bridges.email.codec.tags import lenient_tags
from bridges.email.mail import Result
from bridges.email.trust.coverage import covered
from bridges.email.trust.dkim import fetch_key, verifies
from bridges.email.trust.head import Head
from bridges.email.trust.names import DnsTroubleError, Names

_KINDS: Final = ("arc-authentication-results", "arc-message-signature", "arc-seal")
_MOST: Final = 20
"""Sets of one mail that are looked at; each is a question to DNS."""


class ArcCheck:
    """The chain of one mail. Nothing of it is looked at unless a believed sealer's set is the last one."""

    def __init__(self, head: Head, sealers: Collection[str]) -> None:
        self._fields = head.fields
        self._head = head
        self._sets: list[tuple[bytes, bytes, bytes]] = []
        self._body: BodyHash | None = None
        self._message: SignatureField | None = None
        if not sealers or not head.whole:
            return
        try:
            self._sets = _sets(head)
            if self._sets:
                seal, _ = parse_seal(self._sets[-1][2])
                message = parse_signature(self._sets[-1][1], arc=True)
                if seal.domain in sealers and message.domain in sealers:
                    self._message = message
                    self._body = BodyHash(relaxed=message.relaxed_body)
        except ValueError:
            self._sets = []

    @property
    def feeds(self) -> Sequence[Callable[[bytes], None]]:
        """What the body is to be given to."""
        return (self._body.feed,) if self._body is not None else ()

    @property
    def covered(self) -> tuple[str, ...]:
        """The sensitive header fields that the last forwarder signed."""
        return covered(self._fields, self._message.names) if self._message is not None else ()

    async def sealer(self, names: Names, domain: str) -> str:
        """The believed sealer who says that DMARC passed for the domain; empty where the chain does not hold."""
        if self._message is None or self._body is None:
            return ""
        try:
            return await self._sealer(names, self._message, self._body.digest(), domain)
        except (DnsTroubleError, ValueError):
            return ""

    async def _sealer(self, names: Names, message: SignatureField, digest: bytes, domain: str) -> str:
        if digest != message.body_hash:
            return ""
        data = signed_bytes(self._fields, message.names, message.raw, relaxed=message.relaxed_head)
        if not verifies(message, await fetch_key(names, message), data):
            return ""
        for number, (_, _, raw) in enumerate(self._sets, 1):
            seal, valid = parse_seal(raw)
            if valid != ("none" if number == 1 else "pass"):
                return ""
            if not verifies(seal, await fetch_key(names, seal), self._sealed(number)):
                return ""
        return message.domain if self._passed(self._sets[-1][0], domain) else ""

    def _sealed(self, number: int) -> bytes:
        """What a seal signs: all sets up to its own, in order (section 5.1.1)."""
        pieces = [canonical_field(field, relaxed=True) for one in self._sets[:number] for field in one]
        pieces[-1] = unsigned(self._sets[number - 1][2], relaxed=True)
        return b"".join(pieces)

    def _passed(self, raw: bytes, domain: str) -> bool:
        results = parse_results(self._head.value(raw).partition(";")[2].strip())
        return results is not None and any(
            one.method == "dmarc"
            and one.result is Result.PASS
            and one.get("header.from").rpartition("@")[2].lower() == domain
            for one in results.found
        )


def _sets(head: Head) -> list[tuple[bytes, bytes, bytes]]:
    """The sets in order of their instances, which are without a gap. Raises ValueError."""
    found: list[dict[int, bytes]] = []
    for kind in _KINDS:
        fields: dict[int, bytes] = {}
        for raw in head.all(kind):
            number = instance_of(lenient_tags(raw.partition(b":")[2].decode("latin-1").replace("\r\n", "")))
            if number in fields:
                raise ValueError("an instance is there twice")
            fields[number] = raw
        found.append(fields)
    last = len(found[0])
    if last > _MOST or any(set(fields) != set(range(1, last + 1)) for fields in found):
        raise ValueError("the chain has gaps")
    return [(found[0][number], found[1][number], found[2][number]) for number in range(1, last + 1)]
