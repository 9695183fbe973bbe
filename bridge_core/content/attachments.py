"""Files in Matrix events: the content of `m.image`, `m.file`, `m.audio`, `m.video` and `m.sticker`, both ways.

Sources: client-server API, "m.room.message msgtypes" and "Sending encrypted attachments"; MSC2530 (captions), MSC3245
and MSC3246 (voice), MSC1767, MSC4193 (spoilers).
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from bridge_core.api.content import Attachment, MediaKind
from bridge_core.content.addresses import is_mxc
from bridge_core.content.limits import ContentError
from bridge_core.content.plain import clean

MEDIA_KINDS: Final[Mapping[str, MediaKind]] = {
    "m.image": MediaKind.IMAGE,
    "m.video": MediaKind.VIDEO,
    "m.audio": MediaKind.AUDIO,
    "m.file": MediaKind.FILE,
}
"""The kinds of file by `msgtype`. Voice is an audio with a mark."""

_MSGTYPES: Final[Mapping[MediaKind, str]] = {
    **{kind: msgtype for msgtype, kind in MEDIA_KINDS.items()},
    MediaKind.VOICE: "m.audio",
    MediaKind.STICKER: "m.image",
}
_VOICE = ("org.matrix.msc3245.voice", "m.voice")
_MIME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}/[A-Za-z0-9][\w.+-]{0,126}", re.ASCII)
_NAME_REFUSED = re.compile(r"[\x00-\x1f\x7f/\\\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_LONGEST_NAME = 255  # bytes that common file systems take
_SPOILER = "page.codeberg.everypizza.msc4193.spoiler"
_LONGEST_REASON = 255
_LOUDEST = 1024  # MSC3246
_LONGEST_WAVEFORM = 120
_BIGGEST = 2**53 - 1  # the largest integer of canonical JSON


def parse_attachment(content: Mapping[str, object], kind: MediaKind) -> Attachment:
    """The file of an event. Unknown or absurd sizes are None; the name holds no path and no control characters.

    Raises ContentError when the file has no `mxc:` address, or is encrypted and its keys are incomplete.
    """
    if kind is MediaKind.AUDIO and any(isinstance(content.get(mark), Mapping) for mark in _VOICE):
        kind = MediaKind.VOICE
    source, keys = content.get("url"), None
    file = content.get("file")
    if isinstance(file, Mapping):
        source, keys = file.get("url"), _keys(file)
    if not isinstance(source, str) or not is_mxc(source):
        raise ContentError(f"the {kind} has no address")
    info = content.get("info")
    if not isinstance(info, Mapping):
        info = {}
    mime = info.get("mimetype")
    return Attachment(
        kind=kind,
        name=safe_name(content.get("filename")) or safe_name(content.get("body")) or str(kind),
        source=source,
        mime=mime.lower() if isinstance(mime, str) and _MIME.fullmatch(mime) else None,
        size=_number(info.get("size")),
        width=_number(info.get("w")),
        height=_number(info.get("h")),
        duration=_number(info.get("duration")),
        keys=keys,
        spoiler=_spoiler(content),
        waveform=_waveform(content) if kind is MediaKind.VOICE else (),
    )


def attachment_content(attachment: Attachment, uri: str, file: Mapping[str, object] | None = None) -> dict[str, object]:
    """The event's keys for an uploaded file: `msgtype`, `body`, `filename`, `info` and `url` or `file`.

    `uri` is where it was uploaded. `file` holds the keys of an encrypted one (`key`, `iv`, `hashes`, `v`); its
    address is set here.
    """
    known: dict[str, object] = {
        "mimetype": attachment.mime,
        "size": attachment.size,
        "w": attachment.width,
        "h": attachment.height,
        "duration": attachment.duration,
    }
    name = safe_name(attachment.name) or str(attachment.kind)
    content: dict[str, object] = {
        "msgtype": _MSGTYPES[attachment.kind],
        "body": name,
        "filename": name,
        "info": {key: value for key, value in known.items() if value is not None},
    }
    if attachment.kind is MediaKind.VOICE:
        content["org.matrix.msc3245.voice"] = {}
        audio: dict[str, object] = {} if attachment.duration is None else {"duration": attachment.duration}
        if attachment.waveform:
            audio["waveform"] = list(attachment.waveform[:_LONGEST_WAVEFORM])
        content["org.matrix.msc1767.audio"] = audio
    if attachment.spoiler is not None:
        content[_SPOILER] = True
        if attachment.spoiler:
            content[f"{_SPOILER}.reason"] = clean(attachment.spoiler[:_LONGEST_REASON])
    if file is None:
        content["url"] = uri
    else:
        content["file"] = {**file, "url": uri}
    return content


def safe_name(value: object) -> str:
    """A file name fit for any file system: no path, no control or direction characters, at most 255 bytes.

    Empty when nothing is left. The ending is kept when the name is cut.
    """
    if not isinstance(value, str):
        return ""
    # Cut before anything else: a body may be 64 KiB long.
    name = _NAME_REFUSED.sub("_", value[-1024:] if len(value) > 1024 else value).strip(" .")
    if not name.strip("_"):
        return ""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending.encode()) > 16:
        stem, dot, ending = name, "", ""
    room = _LONGEST_NAME - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def _spoiler(content: Mapping[str, object]) -> str | None:
    """Why a file is hidden, empty without a reason; None when it is not."""
    if content.get(_SPOILER) is not True and content.get("m.spoiler") is not True:
        return None
    reason = content.get(f"{_SPOILER}.reason", content.get("m.spoiler.reason"))
    return clean(reason[:_LONGEST_REASON]) if isinstance(reason, str) else ""


def _waveform(content: Mapping[str, object]) -> tuple[int, ...]:
    """The loudnesses of a voice message, each within bounds; empty when there are none."""
    audio = content.get("org.matrix.msc1767.audio")
    points = audio.get("waveform") if isinstance(audio, Mapping) else None
    if not isinstance(points, list):
        return ()
    heights = (_number(point) for point in points[:_LONGEST_WAVEFORM])
    return tuple(min(height, _LOUDEST) for height in heights if height is not None)


def _number(value: object) -> int | None:
    """A size from outside: whole, not negative, not beyond what JSON carries."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _BIGGEST:
        return None
    return int(value)


def _keys(file: Mapping[str, object]) -> str:
    """The keys as JSON, for whoever decrypts the file. Only what is needed for that is taken over."""
    key, iv, hashes, version = file.get("key"), file.get("iv"), file.get("hashes"), file.get("v")
    secret = key.get("k") if isinstance(key, Mapping) else None
    digest = hashes.get("sha256") if isinstance(hashes, Mapping) else None
    if version != "v2" or not all(isinstance(part, str) and 0 < len(part) <= 128 for part in (secret, iv, digest)):
        raise ContentError("the keys of the encrypted file are incomplete")
    taken = {
        "v": "v2",
        "key": {"kty": "oct", "alg": "A256CTR", "ext": True, "key_ops": ["encrypt", "decrypt"], "k": secret},
        "iv": iv,
        "hashes": {"sha256": digest},
    }
    return json.dumps(taken, separators=(",", ":"))
