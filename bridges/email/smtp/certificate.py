"""The certificate of the doors: read again when its files have changed, without a connection being dropped."""

import asyncio
import ssl
from pathlib import Path
from typing import Final

import structlog

from bridge_core.api.host import Clock
from bridges.email.config.receiving import Receiving

_log = structlog.get_logger(__name__)
_LOOK_EVERY: Final = 60.0


def unreadable(settings: Receiving) -> str:
    """Which of the files cannot be read, by its key, and why; empty when all can. It blocks."""
    if settings.certificate is None:
        return ""
    for key, path in (("certificate", settings.certificate), ("key", settings.key)):
        try:
            if path is not None:
                Path(path).read_bytes()
        except OSError as error:
            return f"receiving.{key}: {path} cannot be read: {error.strerror or error}"
    try:
        Certificate(Path(settings.certificate), Path(settings.key) if settings.key is not None else None)
    except OSError as error:
        files = settings.certificate if settings.key is None else f"{settings.certificate} with the key {settings.key}"
        return f"receiving.certificate: {files} is no certificate with its key, as PEM: {error.strerror or error}"
    return ""


class Certificate:
    """`context` is for connections that come now; those that are there keep theirs."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Reads the files, so it blocks. Raises OSError or ssl.SSLError."""
        self._certificate = certificate
        self._key = key
        self._seen = self._stamp()
        self.context = self._load()

    async def reload(self) -> bool:
        """Read the files again; tells whether that worked. What cannot be read leaves all as it is."""
        try:
            stamp = await asyncio.to_thread(self._stamp)
            self.context = await asyncio.to_thread(self._load)
        except (OSError, ssl.SSLError) as error:
            _log.warning("smtp_certificate_not_reloaded", error=error.strerror or type(error).__name__)
            return False
        self._seen = stamp
        _log.info("smtp_certificate_reloaded")
        return True

    async def watch(self, clock: Clock) -> None:
        """Look every minute whether the files have changed, for ever: to be run in a task."""
        while True:
            await clock.sleep(_LOOK_EVERY)
            try:
                changed = await asyncio.to_thread(self._stamp) != self._seen
            except OSError:
                # Being replaced; a file that stays away is told of when it is needed.
                continue
            if changed:
                await self.reload()

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._certificate,) if self._key is None else (self._certificate, self._key)
        return tuple((found.st_mtime_ns, found.st_size, found.st_ino) for found in (file.stat() for file in files))

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No session state of ours: a mail is not worth the memory, and a renegotiation is a way to cost us time.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.load_cert_chain(self._certificate, self._key)
        return context
