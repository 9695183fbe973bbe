"""TLS contexts of one network: one for all puppets, one for the bot, and one for each user with a certificate."""

import asyncio
import hashlib
import os
import ssl
import sys
import tempfile
from pathlib import Path

from bridges.irc.config import IrcConfig
from bridges.irc.tls import TlsSettings, client_context, tls_settings


class TlsContexts:
    """Makes contexts when they are needed first. Reading files and keys is done in threads."""

    def __init__(self, config: IrcConfig) -> None:
        self._config = config
        self._shared: TlsSettings | None = None
        self._bot: TlsSettings | None = None
        self._making = asyncio.Lock()

    @property
    def trusted(self) -> bool:
        """Whether servers prove who they are: by an authority or as pinned. Without TLS configured, always."""
        config = self._config
        return not config.tls or config.tls_verify or bool(config.fingerprints)

    async def shared(self) -> TlsSettings:
        """What puppets without a certificate use. Raises OSError, ssl.SSLError, ValueError."""
        async with self._making:
            if self._shared is None:
                self._shared = await self._make(None)
            return self._shared

    async def bot(self) -> TlsSettings:
        """The observer's: the only one that shows the bot's certificate. Raises as `shared`."""
        if self._config.tls_certificate is None:
            return await self.shared()
        async with self._making:
            if self._bot is None:
                self._bot = await self._make(self._config.tls_certificate)
            return self._bot

    async def of_user(self, pem: str) -> TlsSettings:
        """For a user's own certificate with its key, as PEM. Not kept: it lives as long as its connection.

        Raises as `shared`.
        """
        shared = await self.shared()
        return await asyncio.to_thread(_with_certificate, shared, pem, self._config.tls_ca)

    async def _make(self, certificate: str | None) -> TlsSettings:
        config = self._config
        return await asyncio.to_thread(
            tls_settings,
            # Without TLS configured only a server's own wish (STS) leads here, and it must be checked.
            verify=config.tls_verify or not config.tls,
            fingerprints=config.fingerprints,
            ca_file=config.tls_ca,
            client_certificate=certificate,
        )


def certificate_fingerprint(pem: str) -> str:
    """The SHA-256 in hex of the first certificate in a PEM text. Raises ValueError."""
    start, end = pem.find(ssl.PEM_HEADER), pem.find(ssl.PEM_FOOTER)
    if start < 0 or end < start:
        raise ValueError("holds no certificate")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[start : end + len(ssl.PEM_FOOTER)])).hexdigest()


def _with_certificate(shared: TlsSettings, pem: str, ca_file: str | None) -> TlsSettings:
    """A context of its own with a certificate. ssl reads keys from files only: on Linux from one that is memory."""
    context = client_context(verify=shared.context.verify_mode is not ssl.CERT_NONE, ca_file=ca_file, small=True)
    if sys.platform == "linux":
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        name = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, name = tempfile.mkstemp()  # for its owner's eyes only
    data = pem.encode()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        context.load_cert_chain(name)
    finally:
        os.close(descriptor)
        if sys.platform != "linux":
            Path(name).unlink()
    return TlsSettings(context, shared.server_name, shared.fingerprints)
