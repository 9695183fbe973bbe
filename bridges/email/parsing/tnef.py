"""winmail.dat, the container of Outlook (MS-OXTNEF), unpacked: its files and its text.

Own reader since the one library for it is LGPL and unkept. Every length is checked; nothing is decompressed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridges.email.parsing.charsets import Decoder

_SIGNATURE: Final = 0x223E9F78
_BODY: Final = 0x0002800C
_MESSAGE_PROPERTIES: Final = 0x00069003
_BEGIN_FILE: Final = 0x00069002
_FILE_NAME: Final = 0x00018010
_FILE_DATA: Final = 0x0006800F
_FILE_PROPERTIES: Final = 0x00069005
_CODEPAGE: Final = 0x00069007
_MOST_FILES: Final = 100
_MOST_PROPERTIES: Final = 2000
_FIXED: Final = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0xA: 4, 0xB: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_VARIABLE: Final = frozenset({0x0D, 0x1E, 0x1F, 0x102})


@dataclass(slots=True)
class TnefFile:
    """One file of the container."""

    name: str = ""
    mime: str = ""
    cid: str = ""
    data: bytes = b""


@dataclass(slots=True)
class Tnef:
    """What the container holds. `damaged`: it ends in the middle, and what came before is here."""

    files: list[TnefFile]
    text: str = ""
    html: str = ""
    rtf: bool = False
    """Its text is there as compressed RTF, which is not read."""
    damaged: bool = False


def parse_tnef(data: bytes) -> Tnef | None:
    """The container's content, None where it is none. Never raises; copies each byte once at most."""
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != _SIGNATURE:
        return None
    found = Tnef([])
    decoder = Decoder(1)
    codepage = "cp1252"
    at = 6
    while at + 9 <= len(data):
        attribute, length = struct.unpack_from("<II", data, at + 1)
        start, end = at + 9, at + 9 + length
        if end > len(data):
            found.damaged = True
            break
        value = data[start:end]
        if attribute == _CODEPAGE and length >= 4:
            codepage = f"cp{struct.unpack_from('<I', value)[0]}"
        elif attribute == _BODY:
            found.text = decoder.decode(value.rstrip(b"\0"), codepage)
        elif attribute == _MESSAGE_PROPERTIES:
            _message(found, value, codepage)
        elif attribute == _BEGIN_FILE:
            if len(found.files) >= _MOST_FILES:
                found.damaged = True
                break
            found.files.append(TnefFile())
        elif found.files:
            _file(found.files[-1], attribute, value, codepage)
        at = end + 2
    found.files = [one for one in found.files if one.data]
    return found


def _file(file: TnefFile, attribute: int, value: bytes, codepage: str) -> None:
    if attribute == _FILE_NAME:
        file.name = file.name or Decoder(0).decode(value.rstrip(b"\0"), codepage)
    elif attribute == _FILE_DATA:
        file.data = value
    elif attribute == _FILE_PROPERTIES:
        for name, kind, given in _properties(value):
            if name == 0x3707:
                file.name = _string(given, kind, codepage)
            elif name == 0x370E:
                file.mime = _string(given, kind, codepage).lower()
            elif name == 0x3712:
                file.cid = _string(given, kind, codepage).strip("<> ")
            elif name == 0x3701 and not file.data:
                file.data = given[16:] if kind == 0x0D else given


def _message(found: Tnef, value: bytes, codepage: str) -> None:
    for name, kind, given in _properties(value):
        if name == 0x1000 and not found.text:
            found.text = _string(given, kind, codepage)
        elif name == 0x1013:
            found.html = Decoder(1).decode(given.rstrip(b"\0"), codepage)
        elif name == 0x1009:
            found.rtf = True


def _string(value: bytes, kind: int, codepage: str) -> str:
    if kind == 0x1F:
        return value.decode("utf-16-le", "replace").rstrip("\0")
    return Decoder(0).decode(value.rstrip(b"\0"), codepage)


def _properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Name, type and value of each property (MS-OXTNEF, 2.1.3.4); of several values the last."""
    try:
        (count,) = struct.unpack_from("<I", data)
        at = 4
        for _ in range(min(count, _MOST_PROPERTIES)):
            kind, name = struct.unpack_from("<HH", data, at)
            at += 4
            if name >= 0x8000:
                at += 16
                (named,) = struct.unpack_from("<I", data, at)
                at += 4
                if named == 1:
                    (length,) = struct.unpack_from("<I", data, at)
                    at += 4 + length + (-length % 4)
                else:
                    at += 4
            many, kind = bool(kind & 0x1000), kind & 0xFFF
            values = 1
            if many or kind in _VARIABLE:
                (values,) = struct.unpack_from("<I", data, at)
                at += 4
            value = b""
            for _ in range(min(values, _MOST_PROPERTIES)):
                if kind in _VARIABLE:
                    (length,) = struct.unpack_from("<I", data, at)
                    at += 4
                    padding = -length % 4
                elif kind in _FIXED:
                    length, padding = _FIXED[kind], 0
                else:
                    return
                if at + length > len(data):
                    return
                value = data[at : at + length]
                at += length + padding
            yield name, kind, value
    except struct.error:
        return
