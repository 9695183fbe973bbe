"""One connection's way to the network: which server, how secured, from where, as whom."""

from collections.abc import Callable

from bridges.irc.access.endpoints import Endpoint
from bridges.irc.access.ident import IdentServer, Key
from bridges.irc.dialing import Address, Route
from bridges.irc.tls import TlsSettings


class Approach:
    """Made anew for each connection, and told when that is gone."""

    __slots__ = (
        "_gone",
        "_ident",
        "_key",
        "_offered",
        "address",
        "endpoint",
        "host",
        "port",
        "preamble",
        "route",
        "secured",
        "tls",
        "user",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        port: int,
        tls: TlsSettings | None,
        route: Route,
        user: str,
        *,
        ident: IdentServer | None = None,
        preamble: bytes | None = None,
        address: str = "",
        offered: "Callable[[Approach, str], str | None]",
        gone: "Callable[[Approach], None]",
    ) -> None:
        self.endpoint = endpoint
        self.host = endpoint.host
        self.port = port
        self.tls = tls
        self.user = user
        self.secured = False
        """Whether the server has answered over TLS, and so proved who it is."""
        self.address = address
        """The user's own address, as the network sees it; empty for the one that all share."""
        self.preamble = preamble
        """What is sent before everything else, or None."""
        self._ident = ident
        self._key: Key | None = None
        self._offered = offered
        self._gone = gone
        self.route = route
        """Where from. Set once more by the maker when the port must be known in time."""

    def bound(self, ours: Address, theirs: Address) -> None:
        """The connection is about to be made from this port: the ident server may be asked from now on."""
        if self._ident is not None:
            if self._key is not None:
                self._ident.release(self._key)
            self._key = self._ident.claim(ours, theirs, self.user)

    def offered(self, sts: str | None) -> str | None:
        """The server told its capabilities; why the connection must end and be made anew, or None (IRCv3 sts)."""
        self.secured = self.tls is not None
        return self._offered(self, sts) if sts is not None else None

    def gone(self) -> None:
        """The connection is gone, or was never made. Idempotent."""
        if self._key is not None and self._ident is not None:
            self._ident.release(self._key)
            self._key = None
        if self.secured:
            self.secured = False
            self._gone(self)
