"""What has to be known before a connection of one network is made, from settings and from what is stored."""

import asyncio
import socket
import ssl
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Host
from bridge_core.api.ids import UserId
from bridge_core.api.network import Login
from bridges.irc.access.addresses import Address, AddressBook, AddressPlan, NoAddress
from bridges.irc.access.approach import Approach
from bridges.irc.access.contexts import TlsContexts, certificate_fingerprint
from bridges.irc.access.endpoints import FULL, UNREACHABLE, Endpoint, Endpoints
from bridges.irc.access.ident import IdentServer
from bridges.irc.access.sts import StsPolicies, read_offer
from bridges.irc.access.usernames import Usernames
from bridges.irc.access.webirc import webirc_line
from bridges.irc.codec.serializer import UnsafeLine
from bridges.irc.config import IrcConfig
from bridges.irc.dialing import ConnectError, ConnectFailure, ProxyServer, Route
from bridges.irc.endings import Cause, Ending, RefusedError
from bridges.irc.nicks import fill
from bridges.irc.tls import TlsSettings

log = structlog.get_logger(__name__)
CERTIFICATE: Final = "certificate"
"""The secret of a login that is its own certificate with its key, as PEM."""
_NOT_ITS_FAULT: Final = frozenset((ConnectFailure.PROXY, ConnectFailure.BIND))
_PERHAPS_OURS: Final = frozenset((ConnectFailure.DNS, ConnectFailure.UNREACHABLE, ConnectFailure.TIMEOUT))
"""What from a user's own address says less of the server than of the address: it may have no way there or back."""
_FAMILIES: Final = {"any": None, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class Access:
    """The ways to one network. Between `start` and `stop`, `approach` says how to make the next connection."""

    def __init__(self, config: IrcConfig) -> None:
        self._config = config
        others = [Endpoint.parse(text, config.port) for text in config.fallback_servers]
        self.endpoints = Endpoints([Endpoint(config.server, config.port), *others])
        self._contexts = TlsContexts(config)
        self._host: Host | None = None
        self._ident: IdentServer | None = None
        self._addresses: AddressBook | None = None
        self._usernames: Usernames | None = None
        self._sts: StsPolicies | None = None
        self._storing: asyncio.Task[None] | None = None

    async def start(self, host: Host) -> None:
        """Reads certificates and policies, and makes the ident server listen. Raises BridgeError in words."""
        config = self._config
        self._host = host
        if config.tls:
            try:
                await self._contexts.bot()
                await self._contexts.shared()
            except (OSError, ssl.SSLError, ValueError) as error:
                raise BridgeError(f"TLS of network {host.network}: {error}") from error
        if config.addresses is not None:
            self._addresses = AddressBook(host.kv, AddressPlan(config.addresses))
        self._usernames = Usernames(host.kv, config.username_template, config.username)
        if config.sts:
            self._sts = StsPolicies(host.kv, host.clock.now_ms)
            await self._sts.load()
        if config.ident is not None:
            where, port = config.ident.host, config.ident.port
            ident = host.shared(f"irc ident {where} {port}", lambda: IdentServer(where, port))
            try:
                await ident.start()
            except OSError as error:
                raise BridgeError(
                    f"the ident server cannot listen on port {port}: {error.strerror or error}"
                ) from error
            self._ident = ident

    async def stop(self) -> None:
        """Gives the ident server back; what the last connections said of STS is stored first. Idempotent."""
        storing, self._storing = self._storing, None
        if storing is not None:
            await asyncio.gather(storing, return_exceptions=True)
        ident, self._ident = self._ident, None
        if ident is not None:
            await ident.stop()

    # Who somebody is

    async def username(self, login: Login) -> str:
        """A Matrix user's user name, theirs for good. Raises errors of the store."""
        assert self._usernames is not None, "the connector is not started"
        return await self._usernames.name(login.user, login.name)

    def realname(self, login: Login) -> str:
        """What a Matrix user's connection says of them."""
        return fill(self._config.realname_template, login.user, login.name)

    async def address(self, user: UserId) -> Address | None:
        """The address that is a Matrix user's own; None where nobody has one. Raises NoAddress; errors of the store."""
        return await self._addresses.address(user) if self._addresses is not None else None

    async def known_username(self, user: UserId) -> str | None:
        """The user name that a Matrix user has already."""
        return await self._usernames.known(user) if self._usernames is not None else None

    async def known_address(self, user: UserId) -> Address | None:
        """The address that a Matrix user has already. Raises NoAddress; errors of the store."""
        return await self._addresses.known(user) if self._addresses is not None else None

    async def block(self, server: str) -> str | None:
        """The addresses of a homeserver's users, as staff would ban them; None where there are none."""
        return await self._addresses.block(server) if self._addresses is not None else None

    # One connection

    async def approach(self, login: Login | None) -> Approach:
        """How to make the next connection of a Matrix user, or of the bot. Raises RefusedError."""
        try:
            return await self._approach(login)
        except NoAddress as error:
            log.warning("irc_no_address", user=login.user if login is not None else None, reason=str(error))
            raise RefusedError(Ending(Cause.LOST, f"no address is left: {error}")) from None
        except (OSError, ssl.SSLError, ValueError, UnsafeLine) as error:
            raise RefusedError(Ending(Cause.CREDENTIALS, f"the connection cannot be made: {error}")) from None
        except (BridgeError, LookupError) as error:
            raise RefusedError(Ending(Cause.LOST, str(error))) from None

    async def _approach(self, login: Login | None) -> Approach:
        config, host = self._config, self._host
        assert host is not None, "the connector is not started"
        endpoint = self.endpoints.choose(host.clock.monotonic())
        port = endpoint.port
        secure = config.tls
        if not secure and self._sts is not None:
            demanded = self._sts.port(endpoint.host)
            if demanded is not None:
                port, secure = demanded, True
        certificate = login.secrets.get(CERTIFICATE) if login is not None else None
        tls = await self._tls(login, certificate) if secure else None
        user = config.username if login is None else await self.username(login)
        address = await self.address(login.user) if login is not None else None
        preamble = None
        source = config.source_address
        if address is not None and config.webirc is not None:
            fingerprint = certificate_fingerprint(certificate) if certificate is not None else None
            preamble = webirc_line(config.webirc, address, user, tls=secure, fingerprint=fingerprint)
        elif address is not None:
            source = str(address)
        approach = Approach(
            endpoint,
            port,
            tls,
            Route(
                source,
                freebind=config.addresses is not None and config.addresses.freebind and source != config.source_address,
                family=_FAMILIES[config.family],
                proxy=self._proxy(user),
            ),
            user,
            ident=self._ident,
            preamble=preamble,
            address=str(address) if address is not None else "",
            offered=self._offered,
            gone=self._gone,
        )
        if self._ident is not None:
            approach.route = replace(approach.route, bound=approach.bound)
        return approach

    async def rehearsed(self) -> tuple[TlsSettings | None, Route]:
        """How the bot would connect, for a try before `start`. Raises BridgeError for certificates in words."""
        config = self._config
        try:
            tls = await self._contexts.bot() if config.tls else None
        except (OSError, ssl.SSLError, ValueError) as error:
            raise BridgeError(f"its certificates cannot be used: {error}") from error
        return tls, Route(config.source_address, family=_FAMILIES[config.family], proxy=self._proxy(config.username))

    async def _tls(self, login: Login | None, certificate: str | None) -> TlsSettings:
        if login is None:
            return await self._contexts.bot()
        return await (self._contexts.of_user(certificate) if certificate is not None else self._contexts.shared())

    def _proxy(self, user: str) -> ProxyServer | None:
        proxy = self._config.proxy
        if proxy is None:
            return None
        login = None
        if proxy.isolate:
            login = user.encode(), b"matrix"
        elif proxy.user is not None and proxy.password is not None:
            login = proxy.user.encode(), proxy.password.get_secret_value().encode()
        return ProxyServer(proxy.host or "", proxy.port, proxy.unix, login)

    def failed(self, approach: Approach, error: ConnectError) -> None:
        """A connection could not be made: the next ones try another server first, where that may help."""
        assert self._host is not None
        own_way = approach.route.source != self._config.source_address
        if error.failure in _NOT_ITS_FAULT or (own_way and error.failure in _PERHAPS_OURS):
            return
        self.endpoints.failed(approach.endpoint, self._host.clock.monotonic(), UNREACHABLE)

    def full(self, approach: Approach) -> None:
        """The server takes nobody any more: another one may."""
        assert self._host is not None
        self.endpoints.failed(approach.endpoint, self._host.clock.monotonic(), FULL)

    # Strict transport security

    def _offered(self, approach: Approach, value: str) -> str | None:
        """As `Approach.offered`."""
        sts, host = self._sts, self._host
        if sts is None or host is None:
            return None
        offer = read_offer(value)
        if approach.tls is None:
            if sts.upgrade(approach.host, offer):
                log.info("irc_sts_upgrade", network=host.network, host=approach.host, port=offer.port)
                return f"{approach.host} asks for TLS on port {offer.port}"
        elif self._contexts.trusted and sts.confirmed(approach.host, approach.port, offer):
            self._storing = host.tasks.spawn(sts.store(approach.host), f"irc {host.network} sts")
        return None

    def _gone(self, approach: Approach) -> None:
        """As `Approach.gone`."""
        sts, host = self._sts, self._host
        if sts is not None and host is not None and sts.closed(approach.host):
            self._storing = host.tasks.spawn(sts.store(approach.host), f"irc {host.network} sts")
