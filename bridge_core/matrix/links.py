"""Links to Matrix files for people who have no Matrix account: signed, expiring, revocable, never an open proxy."""

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.host import Clock
from bridge_core.matrix.addresses import media_path
from bridge_core.matrix.answers import in_matrix_form
from bridge_core.matrix.link_tokens import BadTokenError, LinkedFile, LinkTokens

__all__ = ["Download", "MediaLinks", "Revocations"]

_log = structlog.get_logger(__name__)

_PATH = "/_matrix_bridge/media/{token}/{name}"
_LINK = re.compile(r"/_matrix_bridge/media/([A-Za-z0-9_-]{1,2048})/([^\s/?#<>]{1,1024})")
_LONGEST_NAME = 80
_BAD_NAME = re.compile(r"[/\\:*?\"<>|\s]+")
_MIME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")

# Types no browser runs anything of. SVG, HTML, XML and PDF are not among them.
_INLINE = frozenset(
    {
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/apng"),
        *("audio/mpeg", "audio/ogg", "audio/mp4", "audio/aac", "audio/flac", "audio/wav", "audio/webm"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        "text/plain",
    }
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; media-src 'self'; style-src 'unsafe-inline'",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    # Short, so that a revocation works soon.
    "Cache-Control": "private, max-age=300",
}
_BUSY = 16
_LONGEST_S = 900


class Download(Protocol):
    """Where the bytes come from: `MatrixSide.download`."""

    def __call__(self, mxc: str, limit: int) -> AsyncIterator[bytes]:
        """Stream the file. Raises RejectedError (not there, too large), TransientError, RateLimitedError."""


class Opened(Protocol):
    """Where the bytes of encrypted files come from, in the clear."""

    def __call__(self, mxc: str, keys: str, limit: int) -> AsyncIterator[bytes]:
        """As `Download`; `keys` is the digest of the file's keys. Raises RejectedError where they are gone, too."""


class Revocations(Protocol):
    """Files whose links no longer work, since their message was redacted."""

    async def revoked(self, mxc: str) -> bool:
        """Whether the file was revoked."""


class MediaLinks:
    """Makes links and serves them.

    `public` is the address people reach, best an origin of its own; `limit` bytes at most are served; `lifetime` is in
    seconds, None for links that do not expire.
    """

    def __init__(
        self,
        *,
        public: str,
        secret: bytes,
        download: Download,
        opened: Opened | None = None,
        revocations: Revocations,
        clock: Clock,
        limit: int = 100 * 1024 * 1024,
        lifetime: int | None = None,
    ) -> None:
        self._public = public.rstrip("/")
        self._tokens = LinkTokens(secret)
        self._download = download
        self._opened = opened
        self._revocations = revocations
        self._clock = clock
        self._limit = limit
        self._lifetime = lifetime
        self._places = asyncio.Semaphore(_BUSY)

    def url(self, mxc: str, name: str, mime: str, keys: str = "") -> str:
        """Returns a link; `keys` is the digest of an encrypted file's. Raises RejectedError for no mxc address."""
        media_path(mxc)
        shown = _file_name(name)
        kind = mime.partition(";")[0].strip().lower()
        expires = None if self._lifetime is None else self._clock.now_ms() // 1000 + self._lifetime
        file = LinkedFile(mxc, kind if _MIME.fullmatch(kind) else "application/octet-stream", expires, keys)
        return f"{self._public}/_matrix_bridge/media/{self._tokens.make(file, shown)}/{quote(shown)}"

    def file_of(self, link: str) -> str | None:
        """The mxc address of the file that a link leads to, expired or not; None when it is none of ours."""
        found = _LINK.search(link)
        try:
            return self._tokens.read(found[1], unquote(found[2])).mxc if found is not None else None
        except (BadTokenError, ValueError):
            return None

    def add_to(self, app: web.Application) -> None:
        """Serves the links in an application."""
        app.router.add_route("GET", _PATH, self._serve)
        app.router.add_route("HEAD", _PATH, self._serve)

    def application(self) -> web.Application:
        """Returns an application that serves nothing else, for a listener of its own."""
        app = web.Application(middlewares=[in_matrix_form], client_max_size=1024)
        self.add_to(app)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        try:
            file = self._tokens.read(request.match_info["token"], name)
        except BadTokenError:
            return _text(404, "There is no such file.")
        if file.expires is not None and self._clock.now_ms() // 1000 >= file.expires:
            return _text(410, "This link has expired.")
        # When this cannot be answered the error goes up and the file is not served.
        if await self._revocations.revoked(file.mxc):
            return _text(410, "This file was removed.")
        headers = {**_HEADERS, **_described(file.mime, name)}
        if request.method == "HEAD":
            return web.Response(headers=headers)
        if self._places.locked():
            return _text(503, "Too many downloads at once, try again.", {"Retry-After": "5"})
        async with self._places:
            return await self._stream(request, file, headers)

    async def _stream(self, request: web.Request, file: LinkedFile, headers: dict[str, str]) -> web.StreamResponse:
        if not file.keys:
            chunks = self._download(file.mxc, self._limit)
        elif self._opened is not None:
            chunks = self._opened(file.mxc, file.keys, self._limit)
        else:
            return _text(404, "There is no such file.")
        try:
            async with asyncio.timeout(_LONGEST_S):
                return await self._pass_on(request, chunks, headers)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _pass_on(
        self, request: web.Request, chunks: AsyncIterator[bytes], headers: dict[str, str]
    ) -> web.StreamResponse:
        try:
            first = await anext(chunks, b"")
        except RejectedError:
            return _text(404, "There is no such file.")
        except (TransientError, RateLimitedError):
            return _text(503, "The file cannot be fetched now, try again.", {"Retry-After": "10"})
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        except (BridgeError, ConnectionError, asyncio.CancelledError) as error:
            # The status is out; a broken connection is the only way left to say that this is not all.
            _log.warning("media_link_broke_off", error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            return response
        await response.write_eof()
        return response


def _file_name(name: str) -> str:
    """A harmless file name: no separators, no control or direction characters, bounded, ending kept."""
    printable = "".join(char for char in name if unicodedata.category(char)[0] != "C")
    clean = _BAD_NAME.sub("_", printable).strip("._ ")
    if len(clean) > _LONGEST_NAME:
        stem, dot, ending = clean.rpartition(".")
        ending = ending if dot and len(ending) <= 10 else ""
        clean = f"{(stem or clean)[: _LONGEST_NAME - len(ending) - 1]}.{ending}" if ending else clean[:_LONGEST_NAME]
    return clean or "file"


def _described(mime: str, name: str) -> dict[str, str]:
    inline = mime in _INLINE
    kind = "text/plain; charset=utf-8" if mime == "text/plain" else mime
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return {
        "Content-Type": kind if inline else "application/octet-stream",
        "Content-Disposition": f'{"inline" if inline else "attachment"}; filename="{plain}"; '
        f"filename*=UTF-8''{quote(name, safe='')}",
    }


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        text=text,
        headers={**(headers or {}), "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )
