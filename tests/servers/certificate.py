"""A throw-away certificate authority and a server certificate for loopback."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

__all__ = ["Certificate", "make_certificate"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: the certificate with its chain, its key, and the authority a client has to trust."""

    chain: Path
    key: Path
    authority: Path

    def client_context(self) -> ssl.SSLContext:
        """Returns a context that trusts this authority only and checks host names."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(directory: Path) -> Certificate:
    """Makes a certificate for localhost, 127.0.0.1 and irc.test in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    files = Certificate(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1", "irc.test")
    files.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(files.authority)
    return files
