"""The settings of one IRC network."""

from __future__ import annotations

import codecs
import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from bridges.irc.access.endpoints import Endpoint
from bridges.irc.codec.encoding import Decoder
from bridges.irc.config.addresses import Addresses
from bridges.irc.config.channels import Channels, Netsplit
from bridges.irc.config.connects import Connects
from bridges.irc.config.consent import ConsentSettings
from bridges.irc.config.hybrid import Hybrid
from bridges.irc.config.ident import Ident
from bridges.irc.config.lines import Lines
from bridges.irc.config.logins import Logins
from bridges.irc.config.messages import Messages
from bridges.irc.config.nicks import Nicks
from bridges.irc.config.people import People
from bridges.irc.config.proxy import Proxy
from bridges.irc.config.sasl import Sasl
from bridges.irc.config.section import Seconds, Section, one_line
from bridges.irc.config.staff import StaffSettings
from bridges.irc.config.webirc import WebIrc

_NICK = r"^[A-Za-z\[\]\\`_^{|}][A-Za-z0-9\[\]\\`_^{|}-]{0,62}$"
_USER = r"^[A-Za-z0-9._~-]{1,32}$"
_FINGERPRINT = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")


class IrcConfig(Section):
    """One IRC network. Times are seconds, rates are per second."""

    server: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="Host name or address of the server.", examples=["irc.example.org"]
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=6697, description="Its port.")
    tls: bool = Field(default=True, description="Whether connections are encrypted.")
    tls_verify: bool = Field(default=True, description="Whether the server's certificate is checked.")
    tls_ca: str | None = Field(default=None, description="PEM file of authorities to trust instead of the system's.")
    tls_fingerprint: str | list[str] | None = Field(
        default=None,
        description="SHA-256 of the one certificate to accept, whoever signed it: 64 hex digits. Or a list, for "
        "several servers or while a certificate is replaced.",
    )
    tls_certificate: str | None = Field(
        default=None, description="PEM file with certificate and key of the bot, for SASL external."
    )
    sts: bool = Field(
        default=True,
        description="Whether a server that asks for TLS (IRCv3 sts) is never again connected to without it.",
    )
    fallback_servers: list[Annotated[str, Field(min_length=1, max_length=261)]] = Field(
        default=[],
        max_length=16,
        description="Other servers of the network, as host or host:port, for when `server` is full or not reachable.",
    )
    family: Literal["any", "ipv4", "ipv6"] = Field(default="any", description="Which addresses of servers are used.")
    source_address: str | None = Field(default=None, description="Our own address to connect from.")
    addresses: Addresses | None = Field(default=None, description="One address for each Matrix user.")
    ident: Ident | None = Field(default=None, description="Our ident server.")
    webirc: WebIrc | None = Field(default=None, description="Users' addresses as told by us.")
    proxy: Proxy | None = Field(default=None, description="A proxy for all connections.")
    password: SecretStr | None = Field(default=None, description="The server's password (PASS).")
    nick: Annotated[str, Field(pattern=_NICK)] = Field(
        default="matrixbridge", description="Nick of the bot, which reads all channels and speaks as the relay."
    )
    username: Annotated[str, Field(pattern=_USER)] = Field(default="matrix", description="User name of the bot.")
    realname: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="Matrix bridge", description="Real name of the bot. Many networks want to read there who runs it."
    )
    contact: Annotated[str, Field(max_length=100)] | None = Field(
        default=None,
        description="Where the bridge's admin is reached, by mail or on the network itself: told to operators who are "
        "asked, in the bot's real name, and to whoever asks the bot what it is. Networks expect it.",
        examples=["irc@example.org"],
    )
    consent: ConsentSettings = Field(
        default=ConsentSettings(), description="How a channel's operators agree to being bridged, and end it."
    )
    staff: StaffSettings = Field(
        default=StaffSettings(), description="Who of the network's staff may command the bridge from IRC."
    )
    sasl: Sasl | None = Field(default=None, description="The bot's login.")
    bot_commands: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=20,
        description="Lines that the bot sends after each connection, before channels are joined, such as "
        "`PRIVMSG NickServ :IDENTIFY account password` where the network has no SASL.",
    )
    bot_join_commands: tuple[SecretStr, ...] = Field(
        default=(),
        max_length=20,
        description="Lines that the bot sends after it has joined a channel that agreed to be bridged, with $CHANNEL "
        "for its name, such as `PRIVMSG ChanServ :VOICE $CHANNEL`.",
    )
    puppets: bool = Field(
        default=True, description="Whether Matrix users (see provided_logins) get connections of their own."
    )
    max_puppets: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=2000, description="Connections of Matrix users at once; for further users the relay speaks."
    )
    hybrid: Hybrid = Field(
        default=Hybrid(), description="For whom the relay speaks, and who has a connection of their own."
    )
    nick_template: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="$DISPLAY", description="Nicks of Matrix users, from $DISPLAY, $LOCALPART, $SERVER, $USERID."
    )
    username_template: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="$LOCALPART",
        description="User names of Matrix users, as nick_template: letters and digits, at most nine, different for "
        "each user, and theirs for good.",
    )
    realname_template: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default="$USERID",
        description="Real names of Matrix users, from $DISPLAY, $LOCALPART, $SERVER, $USERID (the whole Matrix id), "
        "$REVERSED (server:@localpart: what is cut off at its end is not the homeserver).",
    )
    idle: Annotated[float, Field(ge=0)] = Field(
        default=30 * 86400,
        description="A Matrix user's connection that was silent this long is closed, and their rooms stay as they are: "
        "the relay speaks when they do. 0: never.",
    )
    encoding: str = Field(default="cp1252", description="How text is read that is not UTF-8.")
    rate: Annotated[float, Field(ge=0)] = Field(
        default=1, description="Lines per connection and second, after `burst`; 0: no limit, for a server without one."
    )
    burst: Annotated[float, Field(ge=1)] = Field(default=5, description="Lines sent at once before `rate` counts.")
    lines: Lines = Field(default=Lines(), description="How fast all connections together speak.")
    connect_rate: Annotated[float, Field(ge=0)] = Field(
        default=1, description="New connections per second, after `connect_burst`; 0: no limit."
    )
    connect_burst: Annotated[float, Field(ge=1)] = Field(default=5, description="New connections at once.")
    connects: Connects = Field(default=Connects(), description="How connections of Matrix users are made.")
    connect_timeout: Seconds = Field(default=30, description="To connect and be welcomed.")
    reconnect_min: Seconds = Field(default=1, description="Wait before the first new try; it doubles each time.")
    reconnect_max: Seconds = Field(default=300, description="The longest wait before a new try.")
    ping_interval: Seconds = Field(default=60, description="Silence after which the server is pinged.")
    ping_timeout: Seconds = Field(default=60, description="Silence after that which ends the connection.")
    join_timeout: Seconds = Field(default=15, description="How long a message waits for its channel to be joined.")
    join_retry: Seconds = Field(default=60, description="Wait before a refused channel is tried again.")
    kick_pause: Annotated[float, Field(ge=0)] = Field(
        default=60, description="For this long after a kick or ban the channel refuses that Matrix user's messages."
    )
    ban_pause: Annotated[float, Field(ge=0)] = Field(
        default=86400,
        description="For this long a Matrix user whom the network banned, or the bot, is not "
        "connected again; over restarts too, unless an admin says `forgive`.",
    )
    max_lines: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=25, description="Lines of one message; of a longer one the rest is named by its number of lines."
    )
    messages: Messages = Field(default_factory=Messages, description="In which form messages cross.")
    relay_format: Annotated[str, Field(max_length=64)] = Field(
        default="<{name}> ", description="What stands in front of relayed lines; {name} is the Matrix user's name."
    )
    mention_length: Annotated[int, Field(ge=1)] = Field(
        default=4, description="Shortest nick that is recognised within a text; at its start any is."
    )
    redactions: Literal["notice", "ignore"] = Field(
        default="notice", description="Where messages cannot be taken back: say so in the channel, or nothing."
    )
    mode_powers: dict[Annotated[str, Field(pattern="^[A-Za-z]$")], Annotated[int, Field(ge=0, le=100)]] = Field(
        default={"q": 50, "a": 50, "o": 50, "h": 25, "v": 1},
        description="Power levels on Matrix of people with a mode of the channel, by letter. The core caps them.",
    )
    ops_from_matrix: bool = Field(
        default=False, description="Whether powers that are given to IRC people on Matrix become modes of the channel."
    )
    relay_moderation: bool = Field(
        default=False,
        description="Whether the bot kicks, bans, invites and sets topics for Matrix moderators without a connection.",
    )
    channels: Channels = Field(default=Channels(), description="How channels are treated: modes, lists, members.")
    netsplit: Netsplit = Field(default=Netsplit(), description="What is done when servers of the network part.")
    typing: bool = Field(default=False, description="Whether typing crosses, where the server knows message tags.")
    nicks: Nicks = Field(default=Nicks(), description="What is done about nicks that cannot be had.")
    logins: Logins = Field(default=Logins(), description="Accounts of Matrix users at the network's services.")
    people: People = Field(default=People(), description="How people of the network are known and shown.")
    private_messages: bool = Field(default=True, description="Whether private messages reach Matrix users.")

    @field_validator(
        "realname", "nick_template", "username_template", "realname_template", "relay_format", "server", "contact"
    )
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        return one_line(value) if value is not None else None

    @field_validator("bot_commands", "bot_join_commands")
    @classmethod
    def _lines(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for line in value:
            if not one_line(line.get_secret_value()).strip():
                raise ValueError("holds an empty line")
        return value

    @field_validator("server")
    @classmethod
    def _host(cls, value: str) -> str:
        if re.search(r"[\s/@,]", value):
            raise ValueError("is not a host name or address")
        return value

    @field_validator("fallback_servers")
    @classmethod
    def _endpoints(cls, value: list[str]) -> list[str]:
        for text in value:
            Endpoint.parse(one_line(text), 1)
        return value

    @model_validator(mode="after")
    def _ways(self) -> IrcConfig:
        if self.webirc is not None and self.addresses is None:
            raise ValueError("webirc needs addresses to tell")
        if self.proxy is not None and (self.ident or self.source_address or (self.addresses and not self.webirc)):
            raise ValueError("behind a proxy neither our addresses nor our ident server are seen")
        return self

    @field_validator("source_address")
    @classmethod
    def _source(cls, value: str | None) -> str | None:
        if value is not None:
            ip_address(value)
        return value

    @field_validator("password")
    @classmethod
    def _pass(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            one_line(value.get_secret_value())
        return value

    @field_validator("relay_format")
    @classmethod
    def _names(cls, value: str) -> str:
        if "{name}" not in value:
            raise ValueError("does not hold {name}: nobody could tell who speaks")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        Decoder(value)
        return codecs.lookup(value).name

    @field_validator("tls_fingerprint")
    @classmethod
    def _hex(cls, value: str | list[str] | None) -> str | list[str] | None:
        for one in [value] if isinstance(value, str) else value or []:
            if not _FINGERPRINT.fullmatch(one):
                raise ValueError("is not 64 hex digits")
        if value == []:
            raise ValueError("is an empty list")
        return value

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of the certificates that are accepted; none where authorities vouch for them."""
        value = self.tls_fingerprint
        return (value,) if isinstance(value, str) else tuple(value or ())
