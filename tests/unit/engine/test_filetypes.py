"""Files are what their bytes say, and images as large as theirs."""

import struct

import pytest

from bridge_core.api.content import MediaKind
from bridge_core.engine.filetypes import sniff, true_kind, true_type
from bridge_core.engine.imagesizes import image_size

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480) + b"\x08\x02\x00\x00\x00"
GIF = b"GIF89a" + struct.pack("<HH", 12, 34) + b"\xf7"
_EXIF = b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)
JPEG = b"\xff\xd8" + _EXIF + b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, 300, 400) + bytes(10)
VP8X = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\x00\x00\x00" + (799).to_bytes(3, "little") + b"\x57\x02\x00"
VP8L = b"RIFF\x00\x00\x00\x00WEBPVP8L\x0a\x00\x00\x00\x2f" + struct.pack("<I", (9 - 1) | ((7 - 1) << 14))
VP8 = b"RIFF\x00\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 33 | 0x4000, 44)
_ISPE = b"\x00\x00\x00\x14ispe\x00\x00\x00\x00"
AVIF = b"\x00\x00\x00\x1cftypavif" + _ISPE + struct.pack(">II", 64, 64) + _ISPE + struct.pack(">II", 1920, 1080)


@pytest.mark.parametrize(
    ("head", "claimed", "shown"),
    [
        (PNG, None, "image/png"),
        (JPEG, "image/png", "image/jpeg"),
        (GIF, None, "image/gif"),
        (VP8X, None, "image/webp"),
        (AVIF, None, "image/avif"),
        (b"\x00\x00\x00\x18ftypheic", "image/jpeg", "image/heic"),
        (b"\x00\x00\x00\x18ftypisom", None, "video/mp4"),
        (b"\x00\x00\x00\x18ftypisom", "audio/mp4", "audio/mp4"),
        (b"\x00\x00\x00\x18ftypM4A ", None, "audio/mp4"),
        (b"OggS\x00", "audio/ogg; codecs=opus", "audio/ogg"),
        (b"OggS\x00", "video/ogg", "video/ogg"),
        (b"\x1a\x45\xdf\xa3", None, "video/webm"),
        (b"\x1a\x45\xdf\xa3", "audio/webm", "audio/webm"),
        (b"RIFF\x00\x00\x00\x00WAVE", None, "audio/wav"),
        (b"PK\x03\x04", "application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        (b"PK\x03\x04", "image/png", "application/zip"),
        (b"hello", "text/plain", None),
        (b"", None, None),
    ],
)
def test_the_first_bytes_tell(head: bytes, claimed: str | None, shown: str | None) -> None:
    """A claim counts only where one form holds several types."""
    assert sniff(head, claimed) == shown


@pytest.mark.parametrize(
    ("head", "claimed", "told"),
    [
        (b"<html><script>", "image/png", "application/octet-stream"),
        (b"<html><script>", "text/html", "application/octet-stream"),
        (b"<svg onload=alert(1)>", "image/svg+xml", "application/octet-stream"),
        (b"<x/>", "TEXT/HTML; charset=utf-8", "application/octet-stream"),
        (PNG, "text/html", "image/png"),
        (b"hello", "text/plain; charset=utf-8", "text/plain"),
        (b"hello", None, "application/octet-stream"),
        (b"odd picture", "image/x-odd", "image/x-odd"),
    ],
)
def test_nothing_runs_under_a_false_name(head: bytes, claimed: str | None, told: str) -> None:
    """What a browser would run, or what is not what it claims to be, is only bytes."""
    assert true_type(head, claimed) == told


def test_an_image_that_is_none_is_a_file() -> None:
    """Clients would try to show it."""
    assert true_kind(MediaKind.IMAGE, "application/octet-stream") is MediaKind.FILE
    assert true_kind(MediaKind.VOICE, "image/png") is MediaKind.FILE
    assert true_kind(MediaKind.VOICE, "audio/ogg") is MediaKind.VOICE
    assert true_kind(MediaKind.FILE, "image/png") is MediaKind.FILE


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (PNG, (640, 480)),
        (GIF, (12, 34)),
        (JPEG, (400, 300)),
        (VP8X, (800, 600)),
        (VP8L, (9, 7)),
        (VP8, (33, 44)),
        (AVIF, (1920, 1080)),
        (PNG[:18], None),
        (JPEG[:40_000], None),
        (VP8L[:22], None),
        (b"\xff\xd8\xff", None),
        (b"\xff\xd8" + b"\xff\xff" * 10, None),
        (b"\xff\xd8" + b"\xff\xd0" * 5000, None),
        (PNG[:16] + b"\xff" * 8, None),
        (GIF[:6] + bytes(4), None),
        (b"", None),
        (b"ispe" * 3, None),
    ],
)
def test_images_say_their_size(head: bytes, size: tuple[int, int] | None) -> None:
    """Damaged, cut off and absurd ones say nothing, and nothing is read for ever."""
    assert image_size(head) == size
