"""Lists of bad senders' addresses, asked by DNS (RFC 5782)."""

import asyncio
from ipaddress import IPv6Address, ip_address

from bridges.email.config.trust import Dnsbl, Failed
from bridges.email.trust.names import DnsTroubleError, Names


async def listed(names: Names, peer: str, lists: tuple[Dnsbl, ...]) -> tuple[Failed, str]:
    """The strictest action of the lists that the peer is on, and that list's zone; `SHOW` and nothing otherwise.

    A list that does not answer lists nobody: mail must not stop with somebody else's service.
    """
    found = await asyncio.gather(*(_on(names, peer, one.zone) for one in lists))
    hits = [one for one, hit in zip(lists, found, strict=True) if hit]
    for action in (Failed.REFUSE, Failed.SPAM):
        for one in hits:
            if one.action is action:
                return action, one.zone
    return Failed.SHOW, ""


async def _on(names: Names, peer: str, zone: str) -> bool:
    try:
        answers = await names.addresses(f"{reversed_name(peer)}.{zone}", v6=False)
    except DnsTroubleError:
        return False
    # 127.255.255.x tells of a mistake in asking (a public resolver, too many questions), not of the peer.
    return any(one.startswith("127.") and not one.startswith("127.255.255.") for one in answers)


def reversed_name(peer: str) -> str:
    """An address as lists have it: its bytes, or the nibbles of an IPv6 address, backwards."""
    address = ip_address(peer)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return ".".join(reversed(address.exploded.replace(":", "")))
        address = address.ipv4_mapped
    return ".".join(reversed(str(address).split(".")))
