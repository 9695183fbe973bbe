"""Lists of senders, with wildcards: addresses, domains, networks."""

import re
from collections.abc import Iterable
from fnmatch import translate
from ipaddress import IPv6Address, ip_address, ip_network

from bridges.email.codec.addresses import Address


class Senders:
    """Senders by pattern: `bob@example.org`, `example.org`, `*.example.org`, `sales-*@example.org`, `192.0.2.0/24`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._networks = []
        wild = []
        for one in patterns:
            pattern = one.strip().casefold()
            try:
                self._networks.append(ip_network(pattern, strict=False))
            except ValueError:
                if any(mark in pattern for mark in "*?["):
                    wild.append(translate(pattern))
                else:
                    self._exact.add(pattern)
        self._wild = re.compile("|".join(wild)) if wild else None

    def has_peer(self, peer: str) -> bool:
        """Whether an address of the net is in one of the networks."""
        if not peer or not self._networks:
            return False
        address = ip_address(peer)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def has(self, sender: Address | None) -> bool:
        """Whether a mail address, or its domain, is on the list; nobody is not."""
        if sender is None:
            return False
        key, domain = sender.key, sender.domain.casefold()
        if key in self._exact or domain in self._exact:
            return True
        return self._wild is not None and bool(self._wild.fullmatch(key) or self._wild.fullmatch(domain))
