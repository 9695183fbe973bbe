"""TLS of one IRC network: shared contexts, and sessions whose buffers stay small.

The sessions work on memory buffers that are fed in slices, since the TLS layers of the event loops keep up to 294 KiB
per connection (asyncio) or grow to 336 KiB after one burst (uvloop).
"""

import hashlib
import hmac
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SLICE: Final = 16384
"""Bytes given to a TLS session at once, either way: one record's worth."""


class FingerprintError(ssl.SSLError):
    """The server's certificate is not the pinned one."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How connections of one network are secured. Share them: a context with its roots takes about 1 MB.

    `server_name` overrides the host's name in SNI and in the check of the certificate. `fingerprints` are the
    SHA-256 of the certificates that are accepted, whoever signed them; empty for those an authority vouches for.
    """

    context: ssl.SSLContext
    server_name: str | None = None
    fingerprints: tuple[bytes, ...] = ()


def tls_settings(
    *,
    verify: bool = True,
    server_name: str | None = None,
    fingerprints: Sequence[str] = (),
    ca_file: str | None = None,
    client_certificate: str | None = None,
) -> TlsSettings:
    """Settings from what the configuration says; reads the named files, so it blocks.

    `fingerprints` are 64 hex digits each, colons allowed; they replace the check by authorities. `client_certificate`
    is a PEM file with key, for SASL EXTERNAL: whoever shows it is logged in as the bot, so users' connections must
    not.

    Raises ValueError for a malformed fingerprint, OSError or ssl.SSLError for unreadable files.
    """
    pinned = tuple(bytes.fromhex(fingerprint.replace(":", "")) for fingerprint in fingerprints)
    if any(len(one) != hashlib.sha256().digest_size for one in pinned):
        raise ValueError("a SHA-256 fingerprint has 64 hex digits")
    context = client_context(verify=verify and not pinned, ca_file=ca_file)
    if client_certificate is not None:
        context.load_cert_chain(client_certificate)
    return TlsSettings(context, server_name, pinned)


def client_context(*, verify: bool, ca_file: str | None, small: bool = False) -> ssl.SSLContext:
    """A context that checks the server's certificate, by the given or the system's authorities, or does not.

    With `small` the system's are looked up by their hash when one is needed, where they are kept so: read whole they
    take 0.8 MB and 50 ms in each context, else 18 KiB. Blocks. Raises OSError or ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    elif small and (folder := _hashed_authorities()) is not None:
        context.load_verify_locations(capath=folder)
    else:
        context.load_default_certs()
    return context


def _hashed_authorities() -> str | None:
    """The folder that holds all of the system's authorities by their hash, as Debian's; None where there is none."""
    paths = ssl.get_default_verify_paths()
    if paths.capath is None:
        return None
    folder = Path(paths.capath)
    if paths.cafile is not None and Path(paths.cafile).resolve().parent != folder.resolve():
        return None
    return str(folder) if next(folder.glob("*.0"), None) is not None else None


class TlsSession:
    """TLS of one connection over bytes in memory. The owner moves the bytes: `outgoing` after every call."""

    __slots__ = ("_fingerprints", "_incoming", "_object", "_outgoing", "closed_by_peer", "ready")

    def __init__(self, settings: TlsSettings, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = settings.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=settings.server_name or host
        )
        self._fingerprints = settings.fingerprints
        self.ready = False
        self.closed_by_peer = False

    def receive(self, piece: memoryview | bytes) -> Iterator[bytes]:
        """Takes at most `SLICE` bytes from the network and yields what they say. Exhaust it before the next call.

        Raises ssl.SSLError when the peer breaks TLS or its certificate is not accepted.
        """
        self._incoming.write(piece)
        if not self.ready:
            self.handshake()
        while self.ready and not self.closed_by_peer:
            try:
                data = self._object.read(SLICE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            if data:
                yield data
            else:
                self.closed_by_peer = True

    def handshake(self) -> None:
        """Goes on with the handshake as far as the bytes allow; then `ready` is set. Raises ssl.SSLError."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        if self._fingerprints:
            shown = hashlib.sha256(self._object.getpeercert(True) or b"").digest()
            if not any(hmac.compare_digest(shown, pinned) for pinned in self._fingerprints):
                raise FingerprintError("the certificate has another fingerprint than the pinned one")
        self.ready = True

    def write(self, data: bytes | memoryview) -> None:
        """Encrypts at most `SLICE` bytes into `outgoing`. Raises ssl.SSLError."""
        self._object.write(data)

    def outgoing(self) -> bytes:
        """Takes the bytes that are to be sent, possibly none."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close(self) -> None:
        """Puts the closing alert into `outgoing`; never raises."""
        try:
            self._object.unwrap()
        except (ssl.SSLError, ValueError):
            return  # the peer's alert is not waited for; a broken session has none of its own
