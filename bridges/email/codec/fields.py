"""The serializer of header fields: the only place where they become bytes (RFC 5322, 2047, 2231, 6532).

A value with CR, LF, NUL or another control character is refused, whatever it is; nothing is cleaned here. Lines are
folded at 76 characters where that is possible and never longer than 998.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from bridges.email.codec.addresses import Address

LINE: Final = 76
LONGEST_LINE: Final = 998
MOST_REFERENCES: Final = 20
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+(?:/[A-Za-z0-9!#$&^_.+-]+)?")
_ID: Final = re.compile(r"[!-;=?-~]{1,990}")
_WORD_BYTES: Final = 45
"""Bytes of one encoded word: 75 characters at most with what is round them."""


class FieldError(ValueError):
    """A value cannot stand in a header. The text names the field, never the value."""


def text_field(name: str, value: str) -> bytes:
    """An unstructured field, in encoded words where it is not plain ASCII."""
    _check(name, value)
    words = value.split(" ")
    plain = value.isascii() and "=?" not in value and value == value.strip() and "  " not in value
    if plain and all(len(word) <= LINE for word in words):
        return _folded(name, words)
    return _folded(name, encoded_words(value))


def word_field(name: str, value: str) -> bytes:
    """A structured field of ASCII characters, as it stands, on one line or folded at its blanks."""
    _check(name, value)
    if not value.isascii():
        raise FieldError(f"{name} holds ASCII only")
    return _folded(name, value.split(" "))


def address_field(name: str, addresses: Sequence[Address], *, utf8: bool = False) -> bytes:
    """A field of mailboxes; `utf8` allows local parts that ASCII cannot write."""
    return _folded(name, list(_listed([written(name, one, utf8=utf8) for one in addresses])))


def written(name: str, address: Address, *, utf8: bool = False) -> list[str]:
    """One mailbox in the pieces between which it may be folded."""
    bare = bare_address(name, address, utf8=utf8)
    _check(name, address.name)
    if not address.name:
        return [bare]
    if address.name.isascii() and "=?" not in address.name:
        if _ATOMS.fullmatch(address.name):
            return [*address.name.split(" "), f"<{bare}>"]
        escaped = address.name.replace("\\", "\\\\").replace('"', '\\"')
        if len(escaped) <= 200:
            return [f'"{escaped}"', f"<{bare}>"]
    return [*encoded_words(address.name), f"<{bare}>"]


def bare_address(name: str, address: Address, *, utf8: bool = False) -> str:
    """`local@domain` as it stands on the wire. Raises FieldError where it needs SMTPUTF8 and may not have it."""
    _check(name, str(address))
    if not address.ascii and not utf8:
        raise FieldError(f"{name}: the address needs SMTPUTF8")
    try:
        bare = f"{address.local}@{address.wire_domain}"
    except ValueError as error:
        raise FieldError(f"{name}: {error}") from error
    if re.search(r"[<>]|\s(?![^\"]*\"@)", bare):
        raise FieldError(f"{name}: the address is malformed")
    return bare


def ids_field(name: str, ids: Iterable[str]) -> bytes | None:
    """A field of Message-IDs (given without brackets), each whole on its line; None where none can be written.

    Ids are never encoded, however long: those of strangers that no header can hold are left out.
    """
    fit = [f"<{one}>" for one in ids if _ID.fullmatch(one)]
    return _folded(name, fit) if fit else None


def thread_of(references: Sequence[str], parent: str) -> tuple[str, ...]:
    """What References says: the root first, the parent last, what is too much cut out of the middle.

    At most 20 ids and 998 bytes.
    """
    wanted = [*dict.fromkeys(one for one in references if one != parent and _ID.fullmatch(one))]
    if _ID.fullmatch(parent):
        wanted.append(parent)
    while len(wanted) > 2 and (len(wanted) > MOST_REFERENCES or sum(len(one) + 3 for one in wanted) > 980):
        del wanted[1]
    return tuple(wanted)


def parameter_field(name: str, value: str, /, **parameters: str) -> bytes:
    """A MIME field: `value; key=...`. What is not ASCII is written by RFC 2231, then as ASCII for others."""
    _check(name, value)
    if not _TOKEN.fullmatch(value):
        raise FieldError(f"{name}: {value!r} is no type")
    pieces = [value]
    for key, given in parameters.items():
        _check(name, given)
        for piece in _parameter(key, given):
            pieces[-1] += ";"
            pieces.append(piece)
    return _folded(name, pieces)


def encoded_words(text: str) -> list[str]:
    """The text in encoded words of UTF-8; a character is never split."""
    words: list[str] = []
    piece = b""
    for character in text:
        some = character.encode()
        if piece and len(piece) + len(some) > _WORD_BYTES:
            words.append(_encoded(piece))
            piece = b""
        piece += some
    return [*words, _encoded(piece)] if piece else words


def _parameter(key: str, value: str) -> list[str]:
    if value.isascii() and len(value) <= 60 and not set(value) & set('"\\%*'):
        return [f"{key}={value}" if _TOKEN.fullmatch(value) and "/" not in value else f'{key}="{value}"']
    fallback = re.sub(r"[^A-Za-z0-9 ._-]", "_", value)
    if len(fallback) > 60:
        head, dot, end = fallback.rpartition(".")
        fallback = f"{head[:40]}.{end[:15]}" if dot else fallback[:60]
    pieces: list[str] = []
    line = ""
    for character in value:
        some = quote(character, safe="")
        if len(line) + len(some) > 55:
            pieces.append(line)
            line = ""
        line += some
    pieces.append(line)
    if len(pieces) == 1:
        return [f"{key}*=utf-8''{pieces[0]}", f'{key}="{fallback}"']
    numbered = [f"{key}*{number}*={'' if number else 'utf-8' + chr(39) * 2}{one}" for number, one in enumerate(pieces)]
    return [*numbered, f'{key}="{fallback}"']


def _listed(groups: Sequence[Sequence[str]]) -> Iterable[str]:
    for number, group in enumerate(groups, 1):
        *before, last = group
        yield from before
        yield last if number == len(groups) else f"{last},"


def _encoded(piece: bytes) -> str:
    return f"=?utf-8?B?{base64.b64encode(piece).decode()}?="


def _folded(name: str, pieces: Iterable[str]) -> bytes:
    if not _NAME.fullmatch(name):
        raise FieldError(f"{name!r} is no field name")
    lines = [f"{name}:"]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) > LINE and lines[-1].strip() and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {piece}"
    if any(len(line.encode()) > LONGEST_LINE for line in lines):
        raise FieldError(f"{name} has a word that is too long")
    return "\r\n".join(lines).encode() + b"\r\n"


def _check(name: str, value: str) -> None:
    if _CONTROL.search(value):
        raise FieldError(f"{name} holds a control character")
