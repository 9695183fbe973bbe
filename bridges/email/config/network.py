"""The settings of one email network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from bridges.email.codec.addresses import parse_address, parse_domain
from bridges.email.config.composing import Composing
from bridges.email.config.delivery import Delivery
from bridges.email.config.mailboxes import Mailbox, Provide
from bridges.email.config.parsing import Parsing
from bridges.email.config.receiving import Receiving
from bridges.email.config.section import Section
from bridges.email.config.trust import Trust

RESERVED = ["postmaster", "abuse", "hostmaster", "webmaster", "mailer-daemon", "noreply", "no-reply", "root"]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class EmailConfig(Section):
    """Mail domains whose mailboxes are rooms. Times are seconds, sizes bytes."""

    hostname: str = Field(
        description="Name of this mail server, as in its PTR record and certificate.", examples=["mail.example.org"]
    )
    domains: list[str] = Field(
        min_length=1, max_length=100, description="Domains whose mail is taken here.", examples=[["example.org"]]
    )
    mailboxes: dict[str, Mailbox] = Field(
        default={},
        max_length=10_000,
        description="Mailboxes that several people share, by address.",
        examples=[{"support@example.org": {"members": ["@alice:example.org"]}}],
    )
    catch_all: dict[str, str] = Field(
        default={}, description="By domain: the mailbox that gets what is for no other address of it."
    )
    postmaster: str | None = Field(
        default=None,
        description="Mailbox of postmaster and abuse in all domains, which have to be there (RFC 5321, 2142). null: "
        "the first mailbox; without any mailbox what they get is set aside for the admin.",
    )
    subaddress: Annotated[str, Field(pattern=r"^[+=_-]?$")] = Field(
        default="+", description="What separates a mailbox from a tag in its addresses; empty: nothing does."
    )
    reserved: list[Name] = Field(default=RESERVED, description="Local parts that are nobody's provided address.")
    provide: Provide = Field(default=Provide(), description="Addresses for Matrix users.")
    composing: Composing = Field(default=Composing(), description="How mails are written.")
    delivery: Delivery = Field(default=Delivery(), description="How mails are sent.")
    receiving: Receiving = Field(default_factory=Receiving, description="How mail comes in.")
    parsing: Parsing = Field(default=Parsing.model_validate({}), description="How much of a mail is read.")
    trust: Trust = Field(default=Trust(), description="Whether mail may come in, and whom it is believed to be from.")

    @field_validator("hostname")
    @classmethod
    def _host(cls, value: str) -> str:
        return parse_domain(value)

    @field_validator("domains")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(parse_domain(one) for one in value))

    @field_validator("mailboxes")
    @classmethod
    def _mailboxes(cls, value: dict[str, Mailbox]) -> dict[str, Mailbox]:
        return {parse_address(address).key: mailbox for address, mailbox in value.items()}

    @field_validator("reserved")
    @classmethod
    def _reserved(cls, value: list[str]) -> list[str]:
        return [one.casefold() for one in value]

    @model_validator(mode="after")
    def _fits(self) -> EmailConfig:
        seen: set[str] = set()
        for address, mailbox in self.mailboxes.items():
            for one in (address, *mailbox.aliases):
                if one.rpartition("@")[2] not in self.domains:
                    raise ValueError(f"mailboxes: {one} is in no domain of `domains`")
                if one in seen:
                    raise ValueError(f"mailboxes: {one} is there twice")
                seen.add(one)
        for domain, address in self.catch_all.items():
            if domain not in self.domains:
                raise ValueError(f"catch_all: {domain} is not in `domains`")
            if address not in self.mailboxes:
                raise ValueError(f"catch_all: {address} is no mailbox")
        if self.postmaster is not None and self.postmaster not in self.mailboxes:
            raise ValueError(f"postmaster: {self.postmaster} is no mailbox")
        if self.provide.address is not None:
            domain = self.provide.address.rpartition("@")[2]
            if "{" not in domain and domain not in self.domains:
                raise ValueError(f"provide.address: {domain} is not in `domains`")
        return self
