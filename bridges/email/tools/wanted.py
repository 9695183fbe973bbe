"""What mail needs in DNS: the records of one network, by its settings. Pure."""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridges.email.composing.signing import Key, read_key
from bridges.email.config.network import EmailConfig

MX_PREFERENCE = 10
STS_AGE = 604_800
SMARTHOST = "include:SMARTHOST"
"""What an admin has to write into the SPF record; it is no name, so that it cannot be used unread."""


class Kind(StrEnum):
    """What a record is for."""

    MX = "MX"
    HOST = "host"
    PTR = "PTR"
    SPF = "SPF"
    DKIM = "DKIM"
    DMARC = "DMARC"
    STS = "MTA-STS"
    TLSRPT = "TLSRPT"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One record: its name, and its type and value as zone files have them. `note` is for people.

    `advised`: mail works without it.
    """

    kind: Kind
    domain: str
    name: str
    value: str
    note: str = ""
    advised: bool = False

    @property
    def open(self) -> bool:
        """The admin has to fill something in: an address, or a key that is not made yet."""
        unnamed = "ADDRESS" in (self.name, self.value.split()[-1]) or self.name.startswith("SELECTOR.")
        return unnamed or SMARTHOST in self.value


def wanted(settings: EmailConfig) -> Iterator[Wanted]:
    """All records, those of the server first."""
    host = ascii_name(settings.hostname)
    yield Wanted(Kind.HOST, host, host, "A ADDRESS", "the public address of this server; AAAA for IPv6")
    yield Wanted(Kind.PTR, host, "ADDRESS", f"PTR {host}.", "who gave you the address sets it")
    keys = [read_key(one.domain, one.selector, one.key.get_secret_value()) for one in settings.delivery.dkim]
    for domain in map(ascii_name, settings.domains):
        yield Wanted(Kind.MX, domain, domain, f"MX {MX_PREFERENCE} {host}.")
        smarthosts = bool(settings.delivery.smarthosts)
        yield Wanted(
            Kind.SPF, domain, domain, text(f"v=spf1 mx {f'{SMARTHOST} ' * smarthosts}-all"),
            "in place of include:SMARTHOST put what your smarthost's owner tells you" if smarthosts else "",
        )  # fmt: skip
        own = [key for key in keys if ascii_name(key.domain) == domain]
        for key in own:
            yield Wanted(Kind.DKIM, domain, f"{key.selector}._domainkey.{domain}", text(public_record(key)))
        if not own:
            yield Wanted(
                Kind.DKIM, domain, f"SELECTOR._domainkey.{domain}", text("v=DKIM1; ..."),
                f"no key signs mail of {domain}: make one with `matrix-bridge email dkim-key {domain}`",
            )  # fmt: skip
        yield Wanted(
            Kind.DMARC, domain, f"_dmarc.{domain}", text(f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}")
        )
        yield Wanted(
            Kind.STS, domain, f"_mta-sts.{domain}", text(f"v=STSv1; id={sts_id(host)}"),
            f"and a web server with https://mta-sts.{domain}/.well-known/mta-sts.txt:\n{sts_file(host)}", advised=True,
        )  # fmt: skip
        yield Wanted(
            Kind.TLSRPT, domain, f"_smtp._tls.{domain}", text(f"v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
            advised=True,
        )  # fmt: skip


def ascii_name(domain: str) -> str:
    """A domain as DNS has it."""
    return domain if domain.isascii() else domain.encode("idna").decode()


def sts_file(host: str) -> str:
    """The policy that senders fetch (RFC 8461 section 3.2)."""
    return f"version: STSv1\nmode: enforce\nmx: {host}\nmax_age: {STS_AGE}\n"


def sts_id(host: str) -> str:
    """Another one for another policy."""
    return hashlib.sha256(sts_file(host).encode()).hexdigest()[:20]


def public_record(key: Key) -> str:
    """The record with a key's public half (RFC 6376 section 3.6.1, RFC 8463 section 4.2)."""
    public = key.private.public_key()
    if isinstance(key.private, Ed25519PrivateKey):
        return f"v=DKIM1; k=ed25519; p={base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()}"
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(data).decode()}"


def text(value: str) -> str:
    """A TXT record's value: pieces of 255 characters at most, in quotes."""
    pieces = [value[at : at + 255] for at in range(0, len(value), 255)]
    return "TXT " + " ".join(f'"{piece}"' for piece in pieces)
