"""Where a mail goes next: our own smarthosts, or the servers of a domain (RFC 5321, 5; 7505; 8461)."""

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from bridges.email.codec.addresses import Address
from bridges.email.config.delivery import Delivery, HostTls, MxTls, Smarthost
from bridges.email.delivery.mtasts import Policies
from bridges.email.ports import Reply

T = TypeVar("T")
MX_PORT: Final = 25
MOST_HOPS: Final = 6
"""Servers that are tried for one mail in one go."""
SMARTHOST: Final = "smarthost"


class NoRouteError(Exception):
    """Nobody can be given the mail: now, or ever, as the reply says."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.text)
        self.reply = reply


class MissingNameError(Exception):
    """There is no such name in DNS, or nothing of that type at it."""


class NameTroubleError(Exception):
    """DNS did not answer, or not so that it can be believed."""


class Names(Protocol):
    """What is asked of DNS. Raises MissingNameError and NameTroubleError; bounded in time."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """Preference and host, as they came."""

    async def addresses(self, host: str) -> Sequence[str]:
        """Addresses of a host, IPv6 and IPv4."""

    async def txt(self, name: str) -> Sequence[str]:
        """The texts at a name."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A server to connect to. `addresses` are tried in order; `host` is who it must be by its certificate.

    `implicit`: TLS from the first byte; `starttls`: it is asked for; `must`: without TLS nothing is sent; `verify`: the
    certificate must be good.
    """

    host: str
    port: int
    addresses: tuple[str, ...]
    implicit: bool = False
    starttls: bool = True
    must: bool = False
    verify: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, compare=False, repr=False)


def smarthost_hop(one: Smarthost, context: ssl.SSLContext) -> Hop:
    """The way to a server that the settings name, whose certificate is looked at by `context`."""
    return Hop(
        one.host,
        one.port,
        # The admin has named it: a private address is meant, and the system's resolver knows local names.
        (one.host,),
        implicit=one.tls is HostTls.IMPLICIT,
        starttls=one.tls is HostTls.STARTTLS,
        must=one.tls is not HostTls.NONE,
        verify=True,
        user=one.user,
        password=one.password.get_secret_value() if one.password is not None else None,
        context=context,
    )


class Hops:
    """Knows the way to each recipient."""

    def __init__(self, settings: Delivery, names: Names, policies: Policies | None = None) -> None:
        self._settings = settings
        self._names = names
        self._policies = policies
        self._verified = ssl.create_default_context()
        self._anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._anybody.check_hostname = False
        self._anybody.verify_mode = ssl.CERT_NONE
        self._trusted = {
            one.ca: ssl.create_default_context(cafile=one.ca) for one in settings.smarthosts if one.ca is not None
        }

    def destination(self, sender: str, recipient: Address) -> str:
        """The name of what is shared by mails on the same way: a domain, or the smarthosts of the sender's domain."""
        return f"{SMARTHOST} {sender}" if self._smarthosts(sender) else recipient.domain

    async def to(self, destination: str) -> list[Hop]:
        """The servers in the order in which they are tried. Raises NoRouteError."""
        head, _, sender = destination.partition(" ")
        if head == SMARTHOST:
            return [
                smarthost_hop(one, self._trusted[one.ca] if one.ca is not None else self._verified)
                for one in self._smarthosts(sender)
            ]
        if not self._settings.direct:
            raise NoRouteError(Reply(550, "5.4.4", "this bridge has no mail server that takes mail from your domain"))
        return await self._exchangers(destination)

    def _smarthosts(self, sender: str) -> list[Smarthost]:
        return [one for one in self._settings.smarthosts if not one.domains or sender in one.domains]

    async def _exchangers(self, domain: str) -> list[Hop]:
        if domain.startswith("["):
            literal = domain.strip("[]").removeprefix("ipv6:")
            return [self._hop(literal, self._allowed([literal]), verify=False, must=False)]
        try:
            hosts = await self._hosts(domain)
        except NameTroubleError as error:
            raise NoRouteError(Reply(0, "4.4.3", f"DNS does not answer for {domain}")) from error
        policy = await self._policies.of(domain) if self._policies is not None and self._settings.mta_sts else None
        if policy is not None and policy.enforced:
            hosts = [host for host in hosts if policy.allows(host)]
            if not hosts:
                raise NoRouteError(Reply(0, "4.7.5", f"{domain} allows none of its mail servers (MTA-STS)"))
        must = self._settings.tls is MxTls.REQUIRED or (policy is not None and policy.enforced)
        hops, missing = [], 0
        for host in hosts[:MOST_HOPS]:
            try:
                addresses = self._allowed(await self._names.addresses(host))
            except MissingNameError:
                missing += 1
                continue
            except NameTroubleError:
                continue
            if addresses:
                hops.append(self._hop(host, addresses, verify=must, must=must))
        if hops:
            return hops
        if missing == len(hosts[:MOST_HOPS]):
            raise NoRouteError(Reply(550, "5.1.2", f"{domain} has no mail server"))
        raise NoRouteError(Reply(0, "4.4.3", f"the mail servers of {domain} cannot be found now"))

    async def _hosts(self, domain: str) -> list[str]:
        """The exchangers by preference; without any, the domain itself (RFC 5321, 5.1)."""
        try:
            found = sorted(await self._names.mx(domain))
        except MissingNameError:
            found = []
        if [host.rstrip(".") for _, host in found] == [""]:
            raise NoRouteError(Reply(556, "5.1.10", f"{domain} takes no mail"))
        return list(dict.fromkeys(host.rstrip(".").lower() for _, host in found if host.rstrip("."))) or [domain]

    def _hop(self, host: str, addresses: Sequence[str], *, verify: bool, must: bool) -> Hop:
        tls = self._settings.tls is not MxTls.NONE or must
        context = self._verified if verify else self._anybody
        return Hop(host, MX_PORT, tuple(addresses), starttls=tls, must=must, verify=verify, context=context)

    def _allowed(self, addresses: Sequence[str]) -> list[str]:
        """Without those inside our own network: a stranger's MX record must not reach what only we can."""
        try:
            allowed = [one for one in addresses if self._settings.private_addresses or _public(one)]
        except ValueError:
            allowed = []
        if addresses and not allowed:
            raise NoRouteError(Reply(550, "5.4.4", "its mail server is at a private address"))
        return allowed


def _public(address: str) -> bool:
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast


@dataclass(frozen=True, slots=True)
class FixedNames:
    """`Names` from a table: for tests and demonstrations. `trouble` are names that do not answer."""

    exchangers: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trouble: frozenset[str] = frozenset()

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """As `Names.mx`."""
        return self._found(self.exchangers, domain)

    async def addresses(self, host: str) -> Sequence[str]:
        """As `Names.addresses`."""
        return self._found(self.hosts, host)

    async def txt(self, name: str) -> Sequence[str]:
        """As `Names.txt`."""
        return self._found(self.texts, name)

    def _found(self, table: Mapping[str, Sequence[T]], name: str) -> Sequence[T]:
        if name in self.trouble:
            raise NameTroubleError(name)
        if name not in table:
            raise MissingNameError(name)
        return table[name]
