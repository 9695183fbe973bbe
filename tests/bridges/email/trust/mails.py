"""Mails for tests of who wrote them: signed by a library that shares no code with the bridge."""

import base64
from collections.abc import AsyncIterator
from functools import cache

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bridges.email.ports import OpenRaw

DATE = "Tue, 14 Nov 2023 22:13:20 +0000"
NOW = 4_000_000_000
"""Later than what the other library signs, which stamps the real time."""


@cache
def rsa(bits: int = 1024) -> tuple[bytes, str]:
    """A private key as PEM, and its record."""
    key = generate_private_key(65537, bits)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


@cache
def ed25519() -> tuple[Ed25519PrivateKey, str]:
    """A private key, and its record."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    return key, f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"


def plain(author: str = "Bob <bob@there.test>", body: str = "Hello\r\n", more: str = "") -> bytes:
    """A mail without signatures."""
    head = f"From: {author}\r\nTo: support@example.org\r\nSubject: Hi  there\r\nDate: {DATE}\r\n"
    return (head + more + "\r\n" + body).encode()


def signed(raw: bytes, domain: str = "there.test", canon: str = "relaxed/relaxed", **options: object) -> bytes:
    """The mail with a signature of `domain`, selector `s1`, on top."""
    head, _, body = canon.partition("/")
    pem, _ = rsa()
    line = dkim.sign(raw, b"s1", domain.encode(), pem, canonicalize=(head.encode(), body.encode()), **options)
    return line.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + raw


def opened(raw: bytes, size: int = 70) -> OpenRaw:
    """As a blob is opened, in chunks of `size`."""

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(raw), size):
            yield raw[at : at + size]

    return chunks
