"""DKIM: signatures and keys as they are written (RFC 6376, 8301, 8463). Pure; raises ValueError in words."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from bridges.email.codec.addresses import parse_domain
from bridges.email.codec.tags import packed, parse_tags

ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256")


@dataclass(frozen=True, slots=True)
class SignatureField:
    """One DKIM-Signature, or an ARC-Message-Signature or ARC-Seal. `raw` is the field as it came, with CRLF.

    `names` are the signed fields in lower case; `made_at` and `expires_at` seconds since 1970. `length` tells that
    only a part of the body is said to be signed (l=).
    """

    raw: bytes
    algorithm: str
    domain: str
    selector: str
    names: tuple[str, ...]
    relaxed_head: bool
    relaxed_body: bool
    body_hash: bytes
    signature: bytes
    identity: str = ""
    made_at: int | None = None
    expires_at: int | None = None
    length: bool = False
    instance: int = 0


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A public key as it is published. `testing`: mail signed with it counts as unsigned. `strict`: i= must be d=."""

    kind: str
    data: bytes
    testing: bool = False
    strict: bool = False


def parse_signature(raw: bytes, *, arc: bool = False) -> SignatureField:
    """A DKIM-Signature; with `arc` an ARC-Message-Signature (RFC 8617), whose i= is a number."""
    try:
        tags = parse_tags(raw.partition(b":")[2].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("it is not written in UTF-8") from error
    wanted = ("a", "b", "bh", "d", "h", "s") if arc else ("v", "a", "b", "bh", "d", "h", "s")
    _need(tags, wanted)
    if not arc and tags["v"] != "1":
        raise ValueError("it is of another version")
    head, _, body = tags.get("c", "simple/simple").lower().partition("/")
    body = body or "simple"
    if head not in ("simple", "relaxed") or body not in ("simple", "relaxed"):
        raise ValueError("its canonical form is unknown")
    names = tuple(name.strip().lower() for name in tags["h"].split(":"))
    if "from" not in names:
        raise ValueError("it does not sign From")
    domain = _domain(tags["d"])
    identity = "" if arc else _identity(tags.get("i", ""), domain)
    made, expires = _seconds(tags, "t"), _seconds(tags, "x")
    if made is not None and expires is not None and expires < made:
        raise ValueError("it ends before it was made")
    if "dns/txt" not in [one.strip().lower() for one in tags.get("q", "dns/txt").split(":")]:
        raise ValueError("its key is not in DNS")
    return SignatureField(
        raw,
        _algorithm(tags["a"]),
        domain,
        _selector(tags["s"]),
        names,
        head == "relaxed",
        body == "relaxed",
        _bytes(tags["bh"]),
        _bytes(tags["b"]),
        identity,
        made,
        expires,
        "l" in tags,
        instance_of(tags) if arc else 0,
    )


def parse_seal(raw: bytes) -> tuple[SignatureField, str]:
    """An ARC-Seal, and its cv=."""
    try:
        tags = parse_tags(raw.partition(b":")[2].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("it is not written in UTF-8") from error
    _need(tags, ("i", "a", "b", "cv", "d", "s"))
    if "h" in tags:
        raise ValueError("a seal names no fields")
    field = SignatureField(
        raw, _algorithm(tags["a"]), _domain(tags["d"]), _selector(tags["s"]), (), True, True, b"", _bytes(tags["b"]),
        instance=instance_of(tags),
    )  # fmt: skip
    return field, tags["cv"].lower()


def instance_of(tags: dict[str, str]) -> int:
    """The i= of an ARC field."""
    number = tags.get("i", "")
    if not number.isascii() or not number.isdigit() or len(number) > 2 or not 1 <= int(number) <= 50:
        raise ValueError("its instance is no number from 1 to 50")
    return int(number)


def parse_key(text: str) -> KeyRecord:
    """A key record (RFC 6376 section 3.6.1). An empty key is a revoked one."""
    tags = parse_tags(text)
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        raise ValueError("the key is of another version")
    kind = tags.get("k", "rsa").lower()
    if kind not in ("rsa", "ed25519"):
        raise ValueError("the key is of an unknown kind")
    if "h" in tags and "sha256" not in [one.strip().lower() for one in tags["h"].split(":")]:
        raise ValueError("the key is for other hashes")
    if "s" in tags and not {"*", "email"} & {one.strip().lower() for one in tags["s"].split(":")}:
        raise ValueError("the key is not for mail")
    if "p" not in tags:
        raise ValueError("the record holds no key")
    if not tags["p"]:
        raise ValueError("the key is revoked")
    flags = [one.strip().lower() for one in tags.get("t", "").split(":")]
    return KeyRecord(kind, _bytes(tags["p"]), "y" in flags, "s" in flags)


def _need(tags: dict[str, str], names: tuple[str, ...]) -> None:
    for name in names:
        if not tags.get(name):
            raise ValueError(f"it lacks the tag {name}")


def _algorithm(text: str) -> str:
    algorithm = text.lower()
    if algorithm == "rsa-sha1":
        raise ValueError("SHA-1 proves nothing (RFC 8301)")
    if algorithm not in ALGORITHMS:
        raise ValueError("its algorithm is unknown")
    return algorithm


def _domain(text: str) -> str:
    domain = parse_domain(text)
    if domain.startswith("[") or "." not in domain:
        raise ValueError("its domain is none")
    return domain if domain.isascii() else domain.encode("idna").decode()


def _selector(text: str) -> str:
    labels = parse_domain(text)
    if labels.startswith("["):
        raise ValueError("its selector is malformed")
    return labels


def _identity(text: str, domain: str) -> str:
    if not text:
        return domain
    found = _domain(text.rpartition("@")[2])
    if found != domain and not found.endswith(f".{domain}"):
        raise ValueError("its identity is of another domain")
    return found


def _seconds(tags: dict[str, str], name: str) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise ValueError(f"its tag {name} is no time")
    return int(value)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(packed(text), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no Base64") from error
