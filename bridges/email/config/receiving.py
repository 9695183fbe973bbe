"""How mail is received: the doors, and their bounds."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bridges.email.config.section import Seconds, Section
from bridges.email.mail import Door

Bytes = Annotated[int, Field(ge=1024)]
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


_LISTEN = re.compile(r"(unix:/.+|\[[0-9a-fA-F:.]+\]:\d{1,5}|[^:\s]*:\d{1,5})")


class Tls(StrEnum):
    """How a door is secured."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
    IMPLICIT = "implicit"


class DoorConfig(Section):
    """One address to listen on."""

    kind: Literal[Door.SMTP, Door.SUBMISSION, Door.LMTP] = Field(
        default=Door.SMTP,
        description="`smtp`: for any mail server, which is verified. `submission`: for those who give a password. "
        "`lmtp`: for your own mail server, which is believed what it has verified.",
    )
    listen: str = Field(
        default="0.0.0.0:25",
        max_length=300,
        description="Address and port, such as `0.0.0.0:25` or `[::]:25`, or `unix:/path` for a socket in the file "
        "system (LMTP). Ports below 1024 need CAP_NET_BIND_SERVICE.",
    )
    tls: Tls | None = Field(
        default=None,
        description="`off`, `optional` (STARTTLS is offered), `required` (nothing goes before STARTTLS) or `implicit` "
        "(as on port 465). null: submission `required`; others `optional` with a certificate, else `off`.",
    )
    socket_mode: Annotated[int, Field(ge=0, le=0o777)] = Field(
        default=0o660, description="Who may connect to a `unix:` socket, as a number: 432 is 0660."
    )

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        if not _LISTEN.fullmatch(value) or (not value.startswith("unix:") and int(value.rpartition(":")[2]) > 65535):
            raise ValueError(f"{value!r} is no address with a port, such as 0.0.0.0:25 or [::]:25, nor unix:/path")
        return value

    @model_validator(mode="after")
    def _sensible(self) -> DoorConfig:
        if self.listen.startswith("unix:") and self.kind is not Door.LMTP:
            raise ValueError("only lmtp listens on a unix: socket")
        return self


class Connections(Section):
    """How many may be connected at once. Beyond, they are told to come back (421)."""

    most: int = Field(default=500, ge=1, le=100_000, description="In all.")
    address: int = Field(default=30, ge=1, description="From one address (IPv4 /32, IPv6 /64).")
    network: int = Field(default=90, ge=1, description="From one network (IPv4 /24, IPv6 /48).")
    region: int = Field(default=270, ge=1, description="From one wide network (IPv4 /16, IPv6 /32).")
    exempt: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=_LOOPBACK, description="Networks of your own that only count in all."
    )


class Times(Section):
    """How long is waited."""

    command: Seconds = Field(default=300.0, ge=1, description="For a command. RFC 5321 wants 5 minutes.")
    data: Seconds = Field(default=180.0, ge=1, description="For more of a mail that is being transferred.")
    mail: Seconds = Field(default=1800.0, ge=1, description="For all of a mail, however it trickles.")
    visit: Seconds = Field(default=7200.0, ge=1, description="For all of a connection; it ends between two mails.")
    answer: Seconds = Field(default=60.0, ge=1, description="For a check of our own; longer: 451, try again later.")


class Held(Section):
    """Mails of strangers that wait for somebody's word (`strangers: ask`). Beyond, theirs are refused for now (452)."""

    person: int = Field(default=20, ge=1, le=10_000, description="Mails of one person that wait at one mailbox.")
    mailbox: int = Field(default=1000, ge=1, le=100_000, description="Mails that wait at one mailbox.")
    mails: int = Field(default=20_000, ge=1, description="Mails that wait at all mailboxes.")
    bytes: Bytes = Field(default=1_073_741_824, description="Of all of them, at all mailboxes.")
    days: int = Field(default=30, ge=1, le=365, description="Until a request that nobody answers ends.")


class Aside(Section):
    """Mails that could not be shown, set aside for the admin (quarantine).

    Beyond, the oldest of whoever has the most there go: of one domain, or of all who proved nothing.
    """

    mails: int = Field(default=10_000, ge=1, description="Mails in the quarantine.")
    bytes: Bytes = Field(default=2_147_483_648, description="Their bytes.")


class Receiving(Section):
    """Receiving mail."""

    doors: tuple[DoorConfig, ...] = Field(default=(DoorConfig(),), max_length=20, description="Where to listen.")
    certificate: str | None = Field(
        default=None, description="PEM file with the certificate and its chain. Read again when it has changed."
    )
    key: str | None = Field(default=None, description="PEM file with its key; null: it is in `certificate`.")
    lmtp_peers: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=_LOOPBACK, description="From where LMTP over TCP is taken. What comes there is believed."
    )
    plain_passwords: bool = Field(
        default=False, description="Take passwords without TLS. Only where nobody else is on the network between."
    )
    largest: Bytes = Field(default=52_428_800, description="Bytes of the largest mail, files encoded (SIZE).")
    recipients: int = Field(default=1000, ge=100, le=10_000, description="Of one mail. RFC 5321 wants 100 at least.")
    longest_line: int = Field(
        default=1_048_576, ge=65_536, description="Bytes of a line. Real mails have longer ones than the RFC allows."
    )
    hops: int = Field(default=100, ge=20, le=1000, description="Received headers that a mail may have; more: a loop.")
    commands: int = Field(default=5000, ge=100, description="Of one connection; then it is ended.")
    errors: int = Field(default=20, ge=3, description="Of one connection between two mails; then it is ended.")
    in_flight: Bytes = Field(
        default=4_294_967_296, description="Bytes of all mails being transferred at once; beyond: 452."
    )
    most_mails: int = Field(
        default=100_000,
        ge=1,
        description="Mails that are kept: those that wait to be bridged, and those of strangers that wait for a word. "
        "Beyond, more are refused for now (452). Those that are set aside for the admin have bounds of their own.",
    )
    most_bytes: Bytes = Field(default=10_737_418_240, description="Their bytes; beyond, more are refused for now.")
    held: Held = Field(default_factory=Held, description="Mails of strangers.")
    aside: Aside = Field(default_factory=Aside, description="Mails that could not be shown.")
    connections: Connections = Field(default_factory=Connections, description="How many at once.")
    times: Times = Field(default_factory=Times, description="How long is waited.")

    @model_validator(mode="after")
    def _each_once(self) -> Receiving:
        seen: set[str] = set()
        for door in self.doors:
            if door.listen in seen:
                raise ValueError(f"two doors listen on {door.listen}")
            if not door.listen.endswith(":0"):
                seen.add(door.listen)
        return self

    @model_validator(mode="after")
    def _certificate_where_needed(self) -> Receiving:
        if self.certificate is None:
            for door in self.doors:
                if self.tls_of(door) in (Tls.REQUIRED, Tls.IMPLICIT):
                    raise ValueError(f"the door {door.listen} needs a certificate")
                if door.tls is Tls.OPTIONAL:
                    raise ValueError(f"the door {door.listen} cannot offer TLS without a certificate")
        return self

    def tls_of(self, door: DoorConfig) -> Tls:
        """How a door is secured, where its own setting leaves that open."""
        if door.tls is not None:
            return door.tls
        if door.kind is Door.SUBMISSION:
            return Tls.OFF if self.plain_passwords else Tls.REQUIRED
        return Tls.OPTIONAL if self.certificate is not None else Tls.OFF
