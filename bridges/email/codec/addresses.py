"""Mail addresses: read, compared, taken apart (RFC 5321, 5322, 5233, 6531)."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_DOT_ATOM: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED: Final = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"')
_ALNUM: Final = r"[A-Za-z0-9\x80-\U0010ffff]"
_LABEL: Final = re.compile(rf"{_ALNUM}(?:[A-Za-z0-9\x80-\U0010ffff-]{{0,61}}{_ALNUM})?")
_LITERAL: Final = re.compile(r"\[(?:IPv6:)?[0-9A-Fa-f.:]{2,45}\]")
LONGEST_LOCAL: Final = 64
LONGEST: Final = 254


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox. `local` is as it was written (it may be quoted), `domain` in lower case; both may hold UTF-8.

    `name` is what its owner is called where it was found; equality looks at it, `key` does not.
    """

    local: str
    domain: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def key(self) -> str:
        """The same for all spellings of one mailbox: what people, rooms and lists are known by."""
        return f"{unicodedata.normalize('NFKC', self.local).casefold()}@{self.domain}"

    @property
    def ascii(self) -> bool:
        """Whether it can be written without SMTPUTF8; a domain can always be (`wire_domain`)."""
        return self.local.isascii()

    @property
    def wire_domain(self) -> str:
        """The domain in ASCII (A-labels). Raises ValueError when it has none."""
        try:
            return self.domain if self.domain.isascii() else self.domain.encode("idna").decode()
        except UnicodeError as error:
            raise ValueError(f"{self.domain!r} is no domain") from error

    def named(self, name: str) -> "Address":
        """The same mailbox, called otherwise."""
        return Address(self.local, self.domain, name)

    def without_tag(self, separator: str = "+") -> "Address":
        """The mailbox that a subaddress belongs to (RFC 5233)."""
        head, _, _ = self.local.partition(separator)
        return Address(head or self.local, self.domain, self.name)

    def tag(self, separator: str = "+") -> str:
        """The detail of a subaddress; empty where there is none."""
        head, _, rest = self.local.partition(separator)
        return rest if head else ""


def parse_address(text: str) -> Address:
    """One bare address, as in an envelope: `local@domain`. Raises ValueError in words.

    No route, no name, no comment, no control character; `postmaster` alone is not an address here.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        raise ValueError("an address has a local part and a domain")
    if len(text.encode()) > LONGEST or len(local.encode()) > LONGEST_LOCAL:
        raise ValueError("the address is too long")
    if not (_DOT_ATOM.fullmatch(local) or _QUOTED.fullmatch(local)):
        raise ValueError("the local part is malformed")
    return Address(local, parse_domain(domain))


def parse_domain(text: str) -> str:
    """A domain name in lower case, with its final dot left out, or an address literal. Raises ValueError."""
    domain = unicodedata.normalize("NFC", text).lower().removesuffix(".")
    if _LITERAL.fullmatch(text):
        return text.lower()
    labels = domain.split(".")
    if len(domain.encode()) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the domain is malformed")
    return domain
