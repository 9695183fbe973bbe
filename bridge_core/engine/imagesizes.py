"""How large an image is, read from its head: bounded, and nothing is decoded.

Sources: PNG (W3C) IHDR; GIF89a; JPEG (ITU T.81) SOF; WebP container (RFC 9649); ISO/IEC 23008-12 `ispe`.
"""

import struct
from typing import Final, TypeAlias

Size: TypeAlias = tuple[int, int]

HEAD: Final = 256 * 1024
"""Bytes of a file's beginning that are looked at: JPEGs carry previews and profiles before their size."""
_LARGEST: Final = 1 << 20
"""More pixels a side than any image has."""
_SEGMENTS: Final = 1000


def image_size(head: bytes) -> Size | None:
    """Width and height in pixels; None for what is no image we know, is cut off before it says, or cannot be true."""
    try:
        found = _size(head)
    except (struct.error, IndexError):
        return None
    if found is None or not all(0 < side <= _LARGEST for side in found):
        return None
    return found


def _size(head: bytes) -> Size | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", head, 16)
        return width, height
    if head[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", head, 6)
        return width, height
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    if head[4:8] == b"ftyp":
        return _heif(head)
    return None


def _jpeg(head: bytes) -> Size | None:
    at = 2
    for _ in range(_SEGMENTS):
        while head[at] == 0xFF and head[at + 1] == 0xFF:  # fill bytes
            at += 1
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker in (0xD9, 0xDA):  # the end, or the picture itself: no size came
            return None
        length = 0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", head, at + 2)[0]
        at += 2 + length
    return None


def _webp(head: bytes) -> Size | None:
    form = head[12:16]
    if form == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
        return (width, height) if len(head) >= 30 else None
    if form == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if form == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _heif(head: bytes) -> Size | None:
    """The largest `ispe` property: previews are smaller than the image."""
    best: Size | None = None
    at = 0
    for _ in range(_SEGMENTS):
        at = head.find(b"ispe", at)
        if at < 0:
            break
        if at + 16 <= len(head):
            width, height = struct.unpack_from(">II", head, at + 8)
            if best is None or width * height > best[0] * best[1]:
                best = (width, height)
        at += 4
    return best
