"""DKIM (RFC 6376, 8301, 8463): each signature judged by itself; one that fails counts as if it were not there.

The body is hashed while it is read, never held. l= is not looked at: a signature answers for all of the body or for
none of it.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bridges.email.codec.canonical import BodyHash, signed_bytes
from bridges.email.codec.dkim import KeyRecord, SignatureField, parse_key, parse_signature
from bridges.email.mail import Result, Signature
from bridges.email.trust.coverage import MOST, covered
from bridges.email.trust.head import Head
from bridges.email.trust.names import DnsTroubleError, Names

LEAST_RSA: Final = 1024
MOST_RSA: Final = 8192
_SKEW: Final = 300
"""Seconds that clocks may differ by."""
_DOMAIN: Final = re.compile(rb"(?:^|;)\s*d\s*=\s*([A-Za-z0-9.-]{1,253})")
_SHOWN: Final = 100


class DkimCheck:
    """The signatures of one mail. Give it the body by `feeds` while the mail is read, then ask for `results`."""

    def __init__(self, head: Head, now: int) -> None:
        self._fields = head.fields
        self._now = now
        self._parsed: list[SignatureField | Signature] = []
        for raw in head.all("dkim-signature")[:MOST]:
            try:
                self._parsed.append(parse_signature(raw))
            except ValueError as error:
                found = _DOMAIN.search(raw.partition(b":")[2])
                domain = found[1].decode().lower() if found else ""
                self._parsed.append(Signature(domain, "", Result.PERMERROR, str(error)[:_SHOWN]))
        wanted = {one.relaxed_body for one in self._parsed if isinstance(one, SignatureField)}
        self._bodies = {relaxed: BodyHash(relaxed=relaxed) for relaxed in wanted}

    @property
    def feeds(self) -> Sequence[Callable[[bytes], None]]:
        """What the body is to be given to; nothing where no signature can be checked."""
        return [body.feed for body in self._bodies.values()]

    async def results(self, names: Names) -> tuple[Signature, ...]:
        """All of them, in order. Asks DNS for the keys, all at once. Never raises."""
        digests = {relaxed: body.digest() for relaxed, body in self._bodies.items()}
        return tuple(
            await asyncio.gather(
                *(
                    self._judged(one, digests, names) if isinstance(one, SignatureField) else _known(one)
                    for one in self._parsed
                )
            )
        )

    async def _judged(self, one: SignatureField, digests: dict[bool, bytes], names: Names) -> Signature:
        def said(result: Result, reason: str = "") -> Signature:
            signed = covered(self._fields, one.names) if result is Result.PASS else ()
            return Signature(one.domain, one.selector, result, reason[:_SHOWN], signed)

        if one.expires_at is not None and one.expires_at + _SKEW < self._now:
            return said(Result.FAIL, "it has expired")
        if one.made_at is not None and one.made_at - 86_400 > self._now:
            return said(Result.FAIL, "it is of the future")
        if digests[one.relaxed_body] != one.body_hash:
            return said(Result.FAIL, "the body was changed, or only a part of it is signed" if one.length else
                        "the body was changed")  # fmt: skip
        try:
            key = await fetch_key(names, one)
        except DnsTroubleError as error:
            return said(Result.TEMPERROR, str(error))
        except ValueError as error:
            return said(Result.PERMERROR, str(error))
        data = signed_bytes(self._fields, one.names, one.raw, relaxed=one.relaxed_head)
        try:
            genuine = verifies(one, key, data)
        except ValueError as error:
            return said(Result.PERMERROR, str(error))
        if not genuine:
            return said(Result.FAIL, "the signature does not fit")
        if key.testing:
            return said(Result.NEUTRAL, "the key is published for tests only")
        return said(Result.PASS)


async def _known(one: Signature) -> Signature:
    return one


async def fetch_key(names: Names, one: SignatureField) -> KeyRecord:
    """The public key of a signature. Raises DnsTroubleError; ValueError in words where it is none."""
    texts = await names.txt(f"{one.selector}._domainkey.{one.domain}")
    if not texts:
        raise ValueError("there is no such key")
    if len(texts) > 1:
        # What then holds is undefined (RFC 6376 section 3.6.2.2): texts beside the key are passed over.
        texts = [text for text in texts if "p=" in text]
    if len(texts) != 1:
        raise ValueError("there is more than one key")
    key = parse_key(texts[0])
    if key.kind != one.algorithm.partition("-")[0]:
        raise ValueError("the key is of another kind")
    if key.strict and one.identity != one.domain:
        raise ValueError("the key is not for subdomains")
    return key


def verifies(one: SignatureField, key: KeyRecord, data: bytes) -> bool:
    """Whether the key made the signature over `data`. Raises ValueError where the key is of no use."""
    if key.kind == "ed25519":
        if len(key.data) != 32:
            raise ValueError("the key is damaged")
        hashed = Hash(SHA256())
        hashed.update(data)
        try:
            # Both algorithms sign the hash of the header (RFC 8463, 3).
            Ed25519PublicKey.from_public_bytes(key.data).verify(one.signature, hashed.finalize())
        except InvalidSignature:
            return False
        return True
    try:
        public = load_der_public_key(key.data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("the key is damaged") from error
    if not isinstance(public, RSAPublicKey):
        raise ValueError("the key is of another kind")
    if not LEAST_RSA <= public.key_size <= MOST_RSA or public.public_numbers().e.bit_length() > 64:
        raise ValueError(f"the key has {public.key_size} bits")
    try:
        public.verify(one.signature, data, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
