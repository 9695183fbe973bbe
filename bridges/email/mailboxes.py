"""The mailboxes of a network: those of the configuration, and those of Matrix users with an address of their own."""

import re
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from bridge_core.api.ids import LoginId, UserId
from bridge_core.api.network import Login
from bridges.email.chats import OWN, Chat
from bridges.email.codec.addresses import Address, parse_address
from bridges.email.config.mailboxes import Rooms
from bridges.email.config.network import EmailConfig

POSTMASTERS = frozenset({"postmaster", "abuse"})
"""Local parts that every domain has to take mail for (RFC 5321 4.5.1, RFC 2142)."""
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
"""What a Matrix name and a mail address have in common."""
_MARK: Final = "~"
"""Begins what tells users of much the same name apart: no Matrix user of today has it in their name, and no tag."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. `login` is set for a Matrix user's own: its rooms are theirs alone.

    `members` are the Matrix users of a shared one.
    """

    address: Address
    rooms: Rooms
    name: str = ""
    members: tuple[UserId, ...] = ()
    login: LoginId | None = None

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.address.key

    @property
    def home(self) -> str:
        """What its chats begin with."""
        return self.key if self.login is None else OWN


class Mailboxes:
    """Finds a mailbox by address. From memory; nothing here waits."""

    def __init__(self, config: EmailConfig) -> None:
        self._config = config
        self._boxes: dict[str, Mailbox] = {}
        self._aliases: dict[str, str] = {}
        for key, section in config.mailboxes.items():
            address = parse_address(key)
            members = tuple(UserId(member) for member in section.members)
            self._boxes[key] = Mailbox(address, section, section.name, members)
            self._aliases.update(dict.fromkeys(section.aliases, key))
        self._postmaster = config.postmaster or next(iter(config.mailboxes), None)

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(list(self._boxes.values()))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of the network."""
        return tuple(self._config.domains)

    def get(self, key: str) -> Mailbox | None:
        """The mailbox known by `key`."""
        return self._boxes.get(key)

    def at(self, chat: Chat, own: LoginId | None) -> Mailbox | None:
        """The mailbox of a chat, which may be that of the login `own`."""
        if chat.mailbox == OWN:
            return self.of(own) if own is not None else None
        return self._boxes.get(chat.mailbox)

    def of(self, login: LoginId) -> Mailbox | None:
        """The mailbox of a login."""
        box = self._boxes.get(login)
        return box if box is not None and box.login == login else None

    def find(self, address: Address) -> Mailbox | None:
        """The mailbox that gets what is sent to the address: by itself, as alias, without its tag, or the catch-all.

        None also for postmaster where no mailbox gets its mail.
        """
        return self.exact(address) or self._wide(address)

    def exact(self, address: Address) -> Mailbox | None:
        """As `find`, without the catch-all and the postmaster."""
        for candidate in (address, self.untagged(address)):
            key = self._aliases.get(candidate.key, candidate.key)
            if key in self._boxes:
                return self._boxes[key]
        return None

    def is_ours(self, address: Address) -> bool:
        """Whether the address is in one of the network's domains."""
        return address.domain in self._config.domains

    def is_postmaster(self, address: Address) -> bool:
        """Whether the address is one that every domain has."""
        return self.is_ours(address) and self.untagged(address).local.casefold() in POSTMASTERS

    def tag(self, address: Address) -> str:
        """The tag of a subaddress; empty where there is none."""
        return address.tag(self._config.subaddress) if self._config.subaddress else ""

    def tagged(self, address: Address, tag: str) -> Address:
        """The mailbox's address with a tag; the address itself where tags are off."""
        separator = self._config.subaddress
        return Address(f"{address.local}{separator}{tag}", address.domain, address.name) if separator else address

    def untagged(self, address: Address) -> Address:
        """The address without its tag."""
        return address.without_tag(self._config.subaddress) if self._config.subaddress else address

    def _wide(self, address: Address) -> Mailbox | None:
        if not self.is_ours(address):
            return None
        if self.is_postmaster(address):
            return self._boxes.get(self._postmaster) if self._postmaster else None
        return self._boxes.get(self._config.catch_all.get(address.domain, ""))

    # Addresses of Matrix users

    def address_for(self, user: UserId, server: str) -> Address | None:
        """The address that a Matrix user would get; None where there is none for them. `server` is our homeserver's.

        Never one that is reserved, configured, or somebody else's already. Only who is called just so on our own
        homeserver gets an address of that name: whoever is called much the same, or lives elsewhere, has a mark in
        theirs that is in nobody's name. Else mail for one user was another's who asked first.
        """
        localpart, _, home = user[1:].partition(":")
        tags = self._config.subaddress
        filler = "_" if tags == "-" else "-"
        plain = "".join(one if one in _PLAIN and one != tags else filler for one in localpart.lower())
        plain = re.sub(r"\.{2,}", ".", plain).strip(".-") or filler
        address = self._made(plain, home)
        if address is None or self._is_nobodys(address):
            return None
        if plain != localpart or home != server:
            mark = b32encode(blake2b(user.encode(errors="replace"), digest_size=8).digest()).decode().rstrip("=")
            address = self._made(f"{plain}{_MARK}{mark.lower()}", home)
        return None if address is None or address.key in self._boxes else address

    def _made(self, name: str, server: str) -> Address | None:
        template = self._config.provide.address
        try:
            filled = template.format(localpart=name, server=server.partition(":")[0].lower()) if template else ""
            address = parse_address(filled)
        except ValueError:
            return None
        return address if self.is_ours(address) else None

    def _is_nobodys(self, address: Address) -> bool:
        """Whether an address, and what looks much like it, is no user's."""
        box = self._boxes.get(address.key)
        configured = (box is not None and box.login is None) or address.key in self._aliases
        return configured or address.local.casefold() in self._config.reserved or self.is_postmaster(address)

    def localpart_for(self, address: Address) -> str | None:
        """The local part of the Matrix users who may get this address; None where it fits no user's.

        Only a guess: `address_for` says what such a user does get.
        """
        template = self._config.provide.address
        if template is None or not self.is_ours(address):
            return None
        pattern = re.escape(template.lower()).replace(r"\{localpart\}", "(?P<name>.+)", 1)
        pattern = pattern.replace(r"\{localpart\}", "(?P=name)").replace(r"\{server\}", "[^@]+")
        found = re.fullmatch(pattern, self.untagged(address).key)
        return found["name"] if found is not None else None

    def add(self, login: Login) -> Mailbox | None:
        """A login has its mailbox from now on. None where the address is a configured one, or in no domain any more."""
        try:
            address = parse_address(login.id)
        except ValueError:
            return None
        known = self._boxes.get(address.key)
        if (known is not None and known.login is None) or address.key in self._aliases or not self.is_ours(address):
            return None
        box = Mailbox(address, self._config.provide, login.name, (login.user,), login.id)
        self._boxes[address.key] = box
        return box

    def remove(self, login: LoginId) -> None:
        """A login is no more; mail for it is refused."""
        if self.of(login) is not None:
            del self._boxes[login]
