"""Links in HTML mails: which are let through, and where they really lead."""

import re
from typing import Final
from urllib.parse import urlsplit

from bridge_core.content.addresses import safe_link
from bridges.email.parsing.names import shown

_SCHEMES: Final = frozenset({"http", "https", "mailto", "matrix"})
_HOST_SAID = re.compile(
    r"(?:(?:https?|ftp)://|www\.)([^\s/?#:@<>\"]{1,253})|((?:[\w-]{1,63}\.){1,8}[a-z]{2,24})/?", re.IGNORECASE
)
_ADDRESS_SAID = re.compile(r"[^\s@<>]{1,64}@([^\s@<>/]{1,253})")
_LONGEST: Final = 4000
_SPACE = re.compile(r"[\s\u200b\ufeff]+")


def safe_url(url: str) -> str | None:
    """The URL as a link may lead to it, None for what is none: http, https, mailto and matrix only."""
    url = _SPACE.sub("", url.strip()) if len(url) <= _LONGEST else ""
    link = safe_link(url)
    return link if link is not None and link.partition(":")[0].lower() in _SCHEMES else None


def host_of(url: str) -> str:
    """The host that a URL leads to, in ASCII where it can be; empty where it has none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            host = ascii(host)[1:-1]
    return shown(host, 100)


def real_host(url: str, text: str) -> str:
    """What the reader must be told of where the link leads: empty where its text does not say otherwise.

    The text says otherwise when it holds or is a host that the real one does not belong to, or the URL has a user name
    before its host, which looks like one.
    """
    said = _SPACE.sub(" ", text).strip().casefold()[:_LONGEST]
    if url.lower().startswith("mailto:"):
        return _real_address(url[7:].partition("?")[0].casefold(), said)
    host = host_of(url)
    if not host:
        return ""
    if "@" in url.partition("//")[2].partition("/")[0]:
        return host
    whole = _HOST_SAID.fullmatch(said) or _HOST_SAID.match(said) or _HOST_SAID.search(said)
    claimed = ((whole[1] or (whole[2] if whole[0] == said else None)) if whole is not None else None) or ""
    if not claimed and (address := _ADDRESS_SAID.fullmatch(said)) is not None:
        claimed = address[1]
    if not claimed or belongs(host, claimed.removeprefix("www.").rstrip(".")):
        return ""
    return host


def belongs(host: str, claimed: str) -> bool:
    """Whether a host is the claimed one or within it."""
    if not claimed.isascii():
        try:
            claimed = claimed.encode("idna").decode()
        except UnicodeError:
            return False
    return host == claimed or host.endswith(f".{claimed}")


def _real_address(address: str, said: str) -> str:
    if "@" in said and _ADDRESS_SAID.fullmatch(said) and said != address:
        return shown(address, 100)
    return ""
