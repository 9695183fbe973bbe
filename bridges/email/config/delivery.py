"""How mails are sent."""

from enum import StrEnum
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from bridges.email.codec.addresses import parse_domain
from bridges.email.composing.signing import read_key
from bridges.email.config.section import Seconds, Section

DAY = 86400.0


class HostTls(StrEnum):
    """How the connection to a mail server of one's own is protected."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class MxTls(StrEnum):
    """How connections to other people's mail servers are protected."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


class Smarthost(Section):
    """A mail server that takes our mails and brings them further."""

    host: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$", description="Its name or address.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    tls: HostTls = Field(
        default=HostTls.STARTTLS,
        description="starttls: asked for, and nothing is sent without it. implicit: from the first byte (port 465). "
        "none: only for a server on this machine or a private wire. The certificate must be good for `host`.",
    )
    ca: str | None = Field(
        default=None, max_length=1000, description="File of certificates (PEM) to trust instead of the system's."
    )
    user: str | None = Field(default=None, max_length=500, description="Who logs in; null for nobody.")
    password: SecretStr | None = Field(default=None, description="Their password.")
    domains: list[str] = Field(
        default=[], max_length=100, description="Our domains whose mail goes this way; none for all."
    )

    @field_validator("domains")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        return [parse_domain(one) for one in value]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        return self


class DkimKey(Section):
    """A key that signs what is from a domain."""

    domain: str = Field(description="Which of our domains it is for.")
    selector: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        description="Under which name the public key stands in DNS: SELECTOR._domainkey.DOMAIN.",
    )
    key: SecretStr = Field(description="The private key, RSA or Ed25519, as PEM.")

    @field_validator("domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        return parse_domain(value)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        read_key(self.domain, self.selector, self.key.get_secret_value())
        return self


class Delivery(Section):
    """How mails are sent, how long that is tried, and how much of it one person may do."""

    hold: Seconds = Field(
        default=20.0,
        le=3600,
        description="Seconds for which a mail is held back: an edit changes it, a redaction takes it back. 0: none.",
    )
    smarthosts: list[Smarthost] = Field(
        default=[],
        max_length=10,
        description="The mail servers that take our mails, in the order in which they are tried.",
    )
    direct: bool = Field(
        default=False,
        description="Whether mails are brought to the servers of their recipients (MX), where no smarthost takes "
        "them. It needs port 25, an address with a name (PTR), and SPF.",
    )
    tls: MxTls = Field(
        default=MxTls.OPPORTUNISTIC,
        description="With `direct`: none, opportunistic (encrypted where the server can, to whoever it is), required "
        "(encrypted, to the server whose name is in the certificate).",
    )
    mta_sts: bool = Field(
        default=True, description="With `direct`: whether domains that ask for verified TLS (MTA-STS) get it."
    )
    private_addresses: bool = Field(
        default=False, description="With `direct`: whether servers on private addresses are connected to."
    )
    connections: int = Field(default=4, ge=1, le=100, description="Connections to one destination at a time.")
    connections_total: int = Field(default=20, ge=1, le=1000, description="Connections in all at a time.")
    idle: Seconds = Field(default=20.0, description="Seconds for which a connection is kept for the next mail.")
    connect_timeout: Seconds = Field(default=30.0, gt=0, description="Seconds for a connection to be made.")
    command_timeout: Seconds = Field(default=120.0, gt=0, description="Seconds for an answer to a command.")
    data_timeout: Seconds = Field(default=900.0, gt=0, description="Seconds for a mail to be taken, from DATA on.")
    lease: Seconds = Field(
        default=60.0, ge=1, description="Seconds after which a try that a crash has cut off is made again."
    )
    give_up_after: Seconds = Field(
        default=2 * DAY, ge=60, le=7 * DAY, description="Seconds after which a mail that nobody takes comes back."
    )
    bounce_name: str = Field(
        default="b",
        pattern=r"^[a-z0-9._-]{1,20}$",
        description="Where reports come back to: NAME+TOKEN@ and the domain of the mail.",
    )
    remember: Seconds = Field(
        default=14 * DAY, ge=DAY, description="Seconds for which a sent mail is known, for reports that come late."
    )
    suppress_for: Seconds = Field(
        default=30 * DAY,
        description="Seconds for which nothing is sent to an address that does not exist. 0: it is tried again.",
    )
    mails_per_day: int = Field(default=500, ge=1, description="Recipients that one Matrix user writes to a day.")
    new_recipients_per_day: int = Field(
        default=100, ge=1, description="Of those, addresses that their mailbox has not written to before."
    )
    mails_per_thread: int = Field(
        default=30, ge=1, description="Mails of one conversation in a row; another one each minute. It stops circles."
    )
    dkim: list[DkimKey] = Field(
        default=[], max_length=50, description="Keys that sign our mails. Two for one domain sign both."
    )
