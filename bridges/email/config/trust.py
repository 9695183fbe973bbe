"""Whether mail may come in, and whom it is believed to be from."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from bridges.email.codec.addresses import parse_domain
from bridges.email.config.section import Seconds, Section

Network = IPv4Network | IPv6Network
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
Pattern = Annotated[str, Field(min_length=1, max_length=300)]
_SERVER = re.compile(r"\[[0-9a-fA-F:.]+\](:\d{1,5})?|[0-9.]+(:\d{1,5})?|[0-9a-fA-F:.]+")


class Failed(StrEnum):
    """What is done with a mail that its domain does not answer for."""

    REFUSE = "refuse"
    SPAM = "spam"
    SHOW = "show"


class Trouble(StrEnum):
    """What is done when a check cannot be made now."""

    RETRY = "retry"
    SHOW = "show"


class OwnDomain(StrEnum):
    """What is done with mail from elsewhere that says it is from a domain of our own."""

    REFUSE = "refuse"
    VERIFY = "verify"


class Dns(Section):
    """Looking names up."""

    servers: tuple[str, ...] = Field(
        default=(), max_length=10, description="Resolvers to ask, such as `127.0.0.1` or `[::1]:53`; empty: the "
        "system's. One that validates (DNSSEC), on this machine, is best.",
    )  # fmt: skip
    timeout: Seconds = Field(default=5.0, ge=0.1, le=60, description="For one answer.")
    cached: int = Field(default=20_000, ge=100, le=1_000_000, description="Answers that are kept, each for its time.")

    @field_validator("servers")
    @classmethod
    def _servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _SERVER.fullmatch(one):
                raise ValueError(f"{one} is no address of a resolver")
            bare = one[1:].partition("]")[0] if one.startswith("[") else one
            ipaddress.ip_address(bare if bare.count(":") != 1 else bare.partition(":")[0])
        return value


class Rates(Section):
    """How much is taken in an hour from who gave no password: mails, each times its recipients. 0: no limit."""

    address: int = Field(default=500, ge=0, description="From one address (IPv4 /32, IPv6 /64).")
    network: int = Field(default=1500, ge=0, description="From one network (IPv4 /24, IPv6 /48).")
    region: int = Field(default=4500, ge=0, description="From one wide network (IPv4 /16, IPv6 /32).")
    exempt: tuple[Network, ...] = Field(default=_LOOPBACK, description="Networks of your own that are not limited.")


class Greylist(Section):
    """Who was never seen is asked to come again: most spammers do not."""

    enabled: bool = Field(default=False, description="Whether it is done.")
    delay: Seconds = Field(default=60.0, ge=1, le=3600, description="After which time they may come again.")
    window: Seconds = Field(default=86_400.0, ge=3600, description="Until when they must have.")
    keep: Seconds = Field(default=30 * 86_400.0, ge=86_400, description="How long who came again stays known.")


class Dnsbl(Section):
    """A list of bad senders' addresses that is asked by DNS."""

    zone: str = Field(max_length=200, description="Its zone.", examples=["zen.spamhaus.org"])
    action: Failed = Field(default=Failed.REFUSE, description="What is done with mail from an address on it.")

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        return parse_domain(value)


class Filter(Section):
    """A filter that is asked about each mail over HTTP, as rspamd answers `/checkv2`."""

    url: str = Field(
        pattern=r"^https?://",
        max_length=500,
        description="Where it is asked. Mails go there as they are: keep it on this machine, or use https.",
        examples=["http://127.0.0.1:11333/checkv2"],
    )
    password: SecretStr | None = Field(default=None, description="Its password, where it wants one.")
    timeout: Seconds = Field(default=15.0, ge=1, le=50, description="For its answer.")
    on_trouble: Trouble = Field(default=Trouble.SHOW, description="What is done when it does not answer.")


class Trust(Section):
    """Whether mail may come in, and whom it is believed to be from."""

    authserv_id: str | None = Field(
        default=None,
        max_length=253,
        description="Name under which your own mail server in front writes Authentication-Results; believed is the "
        "topmost one, from LMTP and from `believed`. That server must remove those that came with the mail. null: all "
        "is checked here.",
        examples=["mx.example.org"],
    )
    believed: tuple[Network, ...] = Field(
        default=(), description="Networks of your own mail servers that hand mail over by SMTP."
    )
    own_domains: OwnDomain = Field(
        default=OwnDomain.REFUSE,
        description="Mail that says it is from a domain of this bridge, and came without a password: refused, or "
        "verified as any other (where others send for the domain too).",
    )
    reject: Failed = Field(
        default=Failed.REFUSE, description="Mail that fails DMARC where the domain wants it refused."
    )
    quarantine: Failed = Field(
        default=Failed.SPAM, description="Mail that fails DMARC where the domain wants it set apart."
    )
    on_trouble: Trouble = Field(
        default=Trouble.RETRY,
        description="When DNS does not answer: the mail is put off (451), or shown as of an unverified author.",
    )
    sealers: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Domains of forwarders and mailing lists whose ARC seals are believed.",
        examples=[["lists.example.net"]],
    )
    allow: tuple[Pattern, ...] = Field(
        default=(),
        max_length=10_000,
        description="Who is neither greylisted, nor looked up in lists, nor limited: addresses and domains, with "
        "wildcards (`*@example.net`, `*.example.net`), or networks. It proves nobody's address.",
    )
    deny: tuple[Pattern, ...] = Field(
        default=(), max_length=10_000, description="Whose mail is refused; as `allow`, which does not lift it."
    )
    rates: Rates = Field(default_factory=Rates, description="How much is taken.")
    greylist: Greylist = Field(default_factory=Greylist, description="Who was never seen is asked to come again.")
    dnsbl: tuple[Dnsbl, ...] = Field(default=(), max_length=10, description="Lists of bad senders' addresses.")
    filter: Filter | None = Field(default=None, description="A filter that is asked about each mail; null: none.")
    dns: Dns = Field(default_factory=Dns, description="Looking names up.")

    @field_validator("sealers")
    @classmethod
    def _sealers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_domain(one) for one in value)
