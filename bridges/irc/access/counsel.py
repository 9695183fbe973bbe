"""What whoever runs the bridge should know of the way their connections take."""

from collections.abc import Iterator
from ipaddress import ip_address

from bridge_core.api.info import Advice
from bridges.irc.config import IrcConfig


def counsel(config: IrcConfig) -> Iterator[Advice]:
    """What is open to others on the way, and what the network cannot tell apart."""
    if not config.tls and config.proxy is None and not _here(config.server):
        yield Advice("connections are not encrypted", "Set `tls: true` and the port for it, mostly 6697.")
    if config.tls and not config.tls_verify and not config.fingerprints:
        yield Advice("anybody can pass for the server", "Pin its certificate: `tls_fingerprint`.")


def _here(server: str) -> bool:
    if server == "localhost":
        return True
    try:
        return ip_address(server).is_loopback
    except ValueError:
        return False
