"""Names of ghosts and aliases: template <-> localpart <-> remote id, and their regular expressions."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

# Matrix appendices 4.2.1: a user's localpart holds only these.
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-/+")
_LITERAL = re.compile(r"[a-z0-9._=/+-]*")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
# A network's name holds only these, so that the character behind it in a template ends it.
NETWORK_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MAX_ID_BYTES = 255  # of a whole user id or alias, sigil and server included
_HASHED = "=h"  # "h" is no hexadecimal digit, so no encoded id can look like this


class TemplateError(ValueError):
    """A template that cannot name ghosts without ambiguity."""


def encode_id(remote: str) -> str:
    """Turn any text into localpart characters, reversibly.

    The case-keeping mapping of the Matrix appendices 4.2.1.1: `A` -> `_a`, `_` -> `__`, every other
    byte outside `a-z 0-9 . - / +` -> `=` and two hexadecimal digits.
    """
    parts: list[str] = []
    for byte in remote.encode("utf-8", "surrogatepass"):
        if byte in _PLAIN:
            parts.append(chr(byte))
        elif byte == 0x5F:
            parts.append("__")
        elif 0x41 <= byte <= 0x5A:
            parts.append("_" + chr(byte + 32))
        else:
            parts.append(f"={byte:02x}")
    return "".join(parts)


def decode_id(encoded: str) -> str | None:
    """Undo `encode_id`; None for what it never produces (such as a hashed name)."""
    out = bytearray()
    at = 0
    while at < len(encoded):
        char = encoded[at]
        if char == "_":
            following = encoded[at + 1 : at + 2]
            if following == "_":
                out.append(0x5F)
            elif "a" <= following <= "z":
                out.append(ord(following) - 32)
            else:
                return None
            at += 2
        elif char == "=":
            digits = encoded[at + 1 : at + 3]
            if not re.fullmatch(r"[0-9a-f]{2}", digits):
                return None
            out.append(int(digits, 16))
            at += 3
        else:
            out.append(ord(char) if char.isascii() else 0)
            at += 1
    try:
        decoded = out.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return decoded if encode_id(decoded) == encoded else None


@dataclass(frozen=True, slots=True)
class Template:
    """A localpart with `{network}` and `{id}`, such as `_{network}_{id}`.

    Raises `TemplateError` when two different remote ids could end up with one name, or when the text in
    front is empty, so that the namespace would swallow ordinary users.
    """

    text: str

    def __post_init__(self) -> None:
        names = _PLACEHOLDER.findall(self.text)
        unknown = sorted(set(names) - {"network", "id"})
        if unknown:
            raise TemplateError(f"unknown placeholder {{{unknown[0]}}}; allowed are {{network}} and {{id}}")
        if names.count("id") != 1 or names.count("network") > 1:
            raise TemplateError("{id} must appear exactly once and {network} at most once")
        if not self.text.endswith("{id}"):
            raise TemplateError("{id} must come last")
        literals = _PLACEHOLDER.split(self.text)[::2]
        if not all(_LITERAL.fullmatch(part) for part in literals):
            raise TemplateError("may hold a-z, 0-9 and . _ = - / + besides the placeholders")
        if not literals[0] and not (len(literals) > 2 and literals[1]):
            raise TemplateError("needs text before {id}, or it would claim every user of the server")
        if "network" in names and (not literals[1] or re.match("[a-z0-9-]", literals[1])):
            raise TemplateError("{network} must be followed by one of . _ = / + so that its end is known")

    @property
    def has_network(self) -> bool:
        """Whether each network has its own names; without it a bridge can hold only one network."""
        return "{network}" in self.text

    def prefix(self, network: str) -> str:
        """What the names of one network start with."""
        return self.text.replace("{network}", network).removesuffix("{id}")

    def localpart(self, network: str, remote: str, domain: str) -> str:
        """The localpart of a remote id; hashed when the whole id would exceed 255 bytes.

        Only names that were not hashed can be parsed back: whoever needs the remote id of a hashed one
        looks it up where it was stored.
        """
        prefix = self.prefix(network)
        room = _MAX_ID_BYTES - len(f"@:{domain}".encode()) - len(prefix)
        encoded = encode_id(remote)
        if len(encoded) <= room:
            return prefix + encoded
        digest = hashlib.sha256(remote.encode("utf-8", "surrogatepass")).digest()[:25]
        return prefix + _HASHED + base64.b32encode(digest).decode("ascii").lower()

    def remote_id(self, network: str, localpart: str) -> str | None:
        """The remote id behind a localpart of `network`; None when it is not ours or was hashed."""
        prefix = self.prefix(network)
        if not localpart.startswith(prefix) or len(localpart) == len(prefix):
            return None
        return decode_id(localpart[len(prefix) :])

    def regex(self, sigil: str, network: str, domain: str) -> str:
        """The namespace of one network: `@_irc_.*:example\\.org`."""
        return f"{sigil}{re.escape(self.prefix(network))}.*:{re.escape(domain)}".replace("\\-", "-")
