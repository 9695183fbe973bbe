"""WEBIRC: telling a server that trusts us which address a user has (IRCv3 webirc)."""

from ipaddress import IPv4Address, IPv6Address

from bridges.irc.codec.serializer import serialize
from bridges.irc.config.webirc import WebIrc


def webirc_line(
    settings: WebIrc, address: IPv4Address | IPv6Address, user: str, *, tls: bool, fingerprint: str | None = None
) -> bytes:
    """The line that comes before all others. The address is its own host name: nothing vouches for another one.

    `secure` is said only where our own connection has TLS. `user` is the user's name for servers that take it from
    here. `fingerprint` is the SHA-256 in hex of the certificate that the user shows (`certfp-sha-256`, UnrealIRCd),
    said over TLS only. Raises UnsafeLine.
    """
    text = str(address)
    if text.startswith(":"):
        text = "0" + text  # it would end the parameters
    options = []
    if tls and settings.secure:
        options.append("secure")
    if tls and fingerprint is not None:
        options.append(f"certfp-sha-256={fingerprint}")
    gateway = settings.gateway.replace("$USERNAME", user)
    parts = [settings.password.get_secret_value(), gateway, text, text]
    return serialize("WEBIRC", *parts, *([" ".join(options)] if options else []))
