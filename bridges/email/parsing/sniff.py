"""What a file is, by its first bytes and its name, where it is said to be something else."""

from collections.abc import Mapping
from typing import Final

_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"{\\rtf", "text/rtf"),
    (b"BEGIN:VCALENDAR", "text/calendar"),
    (b"BEGIN:VCARD", "text/vcard"),
    (b"\x78\x9f\x3e\x22", "application/ms-tnef"),
)
_BY_ENDING: Final[Mapping[str, str]] = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "csv": "text/csv",
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "json": "application/json",
    "xml": "application/xml",
    "eml": "message/rfc822",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "heic": "image/heic",
    "epub": "application/epub+zip",
    "apk": "application/vnd.android.package-archive",
}
_VAGUE: Final = frozenset(
    {"application/octet-stream", "application/x-octet-stream", "application/binary", "application/unknown"}
    | {"application/force-download", "application/x-download", "application/download", "octet/stream"}
    | {"binary/octet-stream", "application/data", "application/x-unknown", "multipart/mixed", "text/plain"}
    | {"application/x-zip-compressed"}
)
_UNMARKED: Final = frozenset({"image/heif", "image/jxl", "image/avif", "image/heic"})
_SHOWN: Final = frozenset({"image", "audio", "video"})


def sniffed(data: bytes) -> str:
    """The type that the first bytes are of; empty where they say nothing."""
    for magic, mime in _MAGIC:
        if data.startswith(magic):
            return mime
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"heic", b"heix", b"mif1"):
            return "image/heic"
        return "image/avif" if brand == b"avif" else "audio/mp4" if brand == b"M4A " else "video/mp4"
    if data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return "audio/mpeg"
    return ""


def type_of(declared: str, name: str, data: bytes) -> str:
    """What the file is: its bytes count before what it is declared to be, its name only where it is declared vaguely.

    Nothing that is not an image by its bytes is called one, so that nothing else (SVG, HTML) is shown as one.
    """
    found = sniffed(data)
    ending = _BY_ENDING.get(name.rpartition(".")[2].lower(), "")
    if found == "application/zip":
        return ending if "office" in ending or ending.endswith(("zip", "text", "archive")) else _zipped(declared)
    main = declared.partition("/")[0]
    if found and (declared in _VAGUE or found.partition("/")[0] in _SHOWN or main in _SHOWN):
        return declared if main == found.partition("/")[0] and main in ("audio", "video") else found
    if main == "image":
        return (
            declared
            if declared in ("image/heif", "image/jxl", "image/avif", "image/heic")
            else "application/octet-stream"
        )
    if declared in _VAGUE and declared != "text/plain":
        return ending or "application/octet-stream"
    return declared


def _zipped(declared: str) -> str:
    kind = declared.partition("/")[0]
    return "application/zip" if declared in _VAGUE or kind in _SHOWN else declared
