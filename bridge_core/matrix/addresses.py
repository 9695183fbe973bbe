"""Addresses of the homeserver's endpoints: every path segment percent-encoded, what repeats built once."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

from yarl import URL

from bridge_core.engine.matrix_ports import MatrixRejectedError, SendRequest

__all__ = ["Addresses", "media_path", "segment"]

_CACHED = 8192
_MXC = re.compile(r"mxc://([A-Za-z0-9.:\[\]_-]{1,255})/([A-Za-z0-9_-]{1,255})")


def segment(value: str) -> str:
    """Returns one path segment, encoded. Raises MatrixRejectedError for what would change the path's meaning."""
    if value in {"", ".", ".."}:
        raise MatrixRejectedError("M_INVALID_PARAM", f"{value!r} cannot stand in an address", 400)
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise MatrixRejectedError("M_INVALID_PARAM", "an id holds half a character", 400) from error


def media_path(mxc: str) -> str:
    """Returns `server/media` of an mxc address, encoded. Raises MatrixRejectedError when it is none."""
    match = _MXC.fullmatch(mxc)
    if match is None or match[1].strip(".") == "":
        raise MatrixRejectedError("M_INVALID_PARAM", "not an mxc address", 400)
    return f"{quote(match[1], safe='')}/{match[2]}"


class Addresses:
    """Builds addresses below one homeserver. Pure but for bounded caches, so safe to share."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        cached = lru_cache(maxsize=_CACHED)
        self._before: Callable[[str, str], str] = cached(self._build_before)
        self._who: Callable[[str, str | None], str] = cached(_build_who)

    def of(self, *segments: str, user: str | None = None, query: Mapping[str, str] | None = None) -> URL:
        """Returns `/_matrix/...` with each segment encoded, acting as `user` (None: the appservice's own)."""
        return self.below("/".join(segment(part) for part in segments), user=user, query=query)

    def rooted(self, path: str, *, user: str) -> URL:
        """As `below`, for what a homeserver has beside the specification: nothing is put before the path."""
        return URL(f"{self._base}/{path}?user_id={quote(user, safe='')}", encoded=True)

    def below(self, path: str, *, user: str | None = None, query: Mapping[str, str] | None = None) -> URL:
        """As `of`, for a path that is encoded already and has no leading `/_matrix/`."""
        pairs = [("user_id", user)] if user is not None else []
        pairs += list(query.items()) if query else []
        tail = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        return URL(f"{self._base}/_matrix/{path}{'?' + tail if tail else ''}", encoded=True)

    def send(self, request: SendRequest) -> URL:
        """Returns where the event goes: /send, or /redact for a redaction. The hot path."""
        after = self._who(request.sender, request.device)
        ts = "" if request.ts is None else f"&ts={request.ts:d}"
        return URL(f"{self._place(request)}{after}{ts}", encoded=True)

    def send_plain(self, request: SendRequest) -> URL:
        """As `send`, for the sender's own token: it says who sends, and may not say when."""
        return URL(self._place(request), encoded=True)

    def _place(self, request: SendRequest) -> str:
        if request.redacts is None:
            before = self._before(request.room, request.type)
        else:
            before = f"{self._base}/_matrix/client/v3/rooms/{segment(request.room)}/redact/{segment(request.redacts)}/"
        return f"{before}{segment(request.txn)}"

    def _build_before(self, room: str, event_type: str) -> str:
        return f"{self._base}/_matrix/client/v3/rooms/{segment(room)}/send/{segment(event_type)}/"


def _build_who(sender: str, device: str | None) -> str:
    device_id = "" if device is None else f"&device_id={quote(device, safe='')}"
    return f"?user_id={quote(sender, safe='')}{device_id}"
