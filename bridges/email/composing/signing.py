"""DKIM signatures (RFC 6376, 8463): relaxed/relaxed, the body hashed while it passes by."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

LEAST_RSA: Final = 1024
SIGNED: Final = (
    b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"list-id", b"list-post", b"list-unsubscribe",
    b"list-unsubscribe-post", b"auto-submitted", b"chat-edit", b"chat-delete",
)  # fmt: skip
OVERSIGNED: Final = frozenset(
    {b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to", b"in-reply-to", b"references"}
    | {b"content-type", b"mime-version", b"chat-edit", b"chat-delete"}
)
"""Named once more than they are there: nobody can add another one."""
_BLANKS: Final = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key of a domain, published under a selector."""

    domain: str
    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """What stands in `a=`."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"


def read_key(domain: str, selector: str, pem: str) -> Key:
    """A key as PKCS #8 or PKCS #1 PEM. Raises ValueError in words."""
    try:
        private = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the DKIM key {selector} of {domain} is no PEM of a private key") from error
    if isinstance(private, RSAPrivateKey):
        if private.key_size < LEAST_RSA:
            raise ValueError(f"the DKIM key {selector} of {domain} has less than {LEAST_RSA} bits")
    elif not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"the DKIM key {selector} of {domain} is neither RSA nor Ed25519")
    return Key(domain, selector, private)


class BodyHash:
    """The hash of a body in relaxed canonical form, fed in chunks with CRLF line ends."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._left = b""
        self._empty = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        data = self._left + chunk
        cut = data.rfind(b"\r\n") + 2
        if cut < 2:
            self._left = data
            return
        self._left = data[cut:]
        self._lines(data[:cut])

    def _lines(self, lines: bytes) -> None:
        # In this order: each step is linear, whatever a stranger's text holds.
        lines = _BLANKS.sub(b" ", lines).replace(b" \r\n", b"\r\n")
        said = lines.rstrip(b"\r\n")
        empty = lines[len(said) :]
        if said:
            self._hash.update(self._empty + said + b"\r\n")
            empty = empty[2:]
            self._empty = b""
        self._empty += empty

    def digest(self) -> bytes:
        """The hash of all of it: empty lines at its end do not count."""
        if self._left:
            self._lines(self._left + b"\r\n")
            self._left = b""
        return self._hash.digest()


def signature(key: Key, fields: Sequence[bytes], body_hash: bytes, at: int) -> bytes:
    """The DKIM-Signature field of a mail with these header fields; `at` is in seconds since 1970."""
    names = [_name(one) for one in fields]
    signed = [name for name in SIGNED for _ in range(names.count(name) + (name in OVERSIGNED))]
    listed = ":".join(name.decode() for name in signed)
    value = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector}; t={at};\r\n"
        f" h={_wrapped(listed)};\r\n bh={base64.b64encode(body_hash).decode()};\r\n b="
    )
    field = b"DKIM-Signature: " + value.encode()
    left: dict[bytes, list[bytes]] = {}
    for name, one in zip(names, fields, strict=True):
        left.setdefault(name, []).append(one)
    hashed = sha256()
    for name in signed:
        if left.get(name):
            # From the last to the first (RFC 6376, 5.4.2).
            hashed.update(_relaxed(left[name].pop()))
    hashed.update(_relaxed(field + b"\r\n").removesuffix(b"\r\n"))
    made = base64.b64encode(_signed(key, hashed.digest())).decode()
    folded = "\r\n ".join(made[at : at + 72] for at in range(0, len(made), 72))
    return field + folded.encode() + b"\r\n"


def _signed(key: Key, digest: bytes) -> bytes:
    if isinstance(key.private, Ed25519PrivateKey):
        return key.private.sign(digest)
    # Both algorithms sign the hash of the header (RFC 8463, 3).
    return key.private.sign(digest, padding.PKCS1v15(), Prehashed(SHA256()))


def _name(one: bytes) -> bytes:
    return one.partition(b":")[0].strip().lower()


def _relaxed(one: bytes) -> bytes:
    name, _, value = one.partition(b":")
    value = _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")
    return name.strip().lower() + b":" + value + b"\r\n"


def _wrapped(listed: str) -> str:
    """The names with a fold after each few."""
    lines = [""]
    for name in listed.split(":"):
        if len(lines[-1]) + len(name) > 66:
            lines.append("")
        lines[-1] += f"{name}:"
    return "\r\n ".join(lines).removesuffix(":")
