"""What a file is, told by its first bytes: what strangers claim of it counts only where the bytes say nothing else."""

from typing import Final

from bridge_core.api.content import MediaKind

HEAD: Final = 64
"""Bytes that are enough to tell."""
UNKNOWN: Final = "application/octet-stream"

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
    (b"\xff\xf1", "audio/aac"),
    (b"\xff\xf9", "audio/aac"),
    (b"#!AMR", "audio/amr"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# ISO base media: the major brand (ISO/IEC 14496-12). What is not named is a film, or what is claimed.
_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
    b"3gp4": "video/3gpp",
    b"3gp5": "video/3gpp",
}
# Containers of sound as well as of films: the claim decides between them.
_EITHER: Final = {
    b"OggS": ("audio/ogg", ("audio/", "video/ogg", "application/ogg")),
    b"\x1a\x45\xdf\xa3": ("video/webm", ("audio/webm", "audio/x-matroska", "video/x-matroska")),
}
# A zip is the outside of many documents.
_ZIPPED: Final = ("application/vnd.", "application/epub+zip", "application/java-archive", "application/x-zip")
# Types whose files always begin with a signature that is known here: a claim without it is false.
_PROVABLE: Final = frozenset(
    {
        *("image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp", "image/avif", "image/heic", "image/heif"),
        *("application/pdf", "application/zip", "audio/ogg", "audio/flac", "video/webm", "audio/wav"),
    }
)
_ACTIVE: Final = ("text/html", "text/xml", "application/xhtml", "application/xml", "image/svg", "text/javascript")
_KINDS: Final = {
    MediaKind.IMAGE: ("image/",),
    MediaKind.STICKER: ("image/",),
    MediaKind.VIDEO: ("video/",),
    MediaKind.AUDIO: ("audio/", "application/ogg"),
    MediaKind.VOICE: ("audio/", "application/ogg"),
}


def sniff(head: bytes, claimed: str | None = None) -> str | None:
    """The media type that the first bytes show, None when they show none we know.

    `claimed` decides where one form holds several types.
    """
    said = claimed.partition(";")[0].strip().lower() if claimed else ""
    for signature, mime in _SIGNATURES:
        if head.startswith(signature):
            return said if mime == "application/zip" and said.startswith(_ZIPPED) else mime
    for signature, (mime, others) in _EITHER.items():
        if head.startswith(signature):
            return said if said.startswith(others) else mime
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12]) or (said if said.startswith(("audio/", "video/")) else "video/mp4")
    return None


def true_type(head: bytes, claimed: str | None) -> str:
    """The type to tell Matrix: what the bytes show, else what is claimed where that can be true and runs nowhere."""
    shown = sniff(head, claimed)
    mime = (shown or claimed or UNKNOWN).partition(";")[0].strip().lower()
    if mime.startswith(_ACTIVE) or (shown is None and mime in _PROVABLE):
        return UNKNOWN  # nothing that a browser would run, and nothing under a false name
    return mime


def true_kind(kind: MediaKind, mime: str) -> MediaKind:
    """What an attachment of this type may be shown as: an image that is none is a file."""
    wanted = _KINDS.get(kind)
    return kind if wanted is None or mime.startswith(wanted) else MediaKind.FILE
