"""Passwords for mail programs and scripts: made by the bridge, one for each member of a mailbox, kept as hashes."""

import asyncio
import hashlib
import hmac
import secrets
from typing import Final

from bridge_core.api.host import KV
from bridge_core.api.ids import UserId
from bridges.email.codec.addresses import parse_address
from bridges.email.mailboxes import Mailbox, Mailboxes

_COST: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}
"""Of scrypt: 16 MiB and some 50 ms each. The doors hold guessers back; this is for who gets hold of the database."""
_AT_ONCE: Final = 2
"""Checks at the same time: others wait their turn, within the time that the door gives them."""
_SALT: Final = 16
_BYTES: Final = 15
"""Of randomness in a password."""
_NAME: Final = 10
"""Letters and digits that a password begins with: they say whose it is, and are no secret."""
_PREFIX: Final = "password/"


class StoredPasswords:
    """Implements `Passwords`: a user is a mailbox's address, a login its key.

    A password is of one Matrix user for one mailbox, and works while they are a member of it.
    """

    def __init__(self, kv: KV, mailboxes: Mailboxes) -> None:
        self._kv = kv
        self._mailboxes = mailboxes
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._dummy = secrets.token_bytes(_SALT + 32)

    async def check(self, user: str, password: str, peer: str) -> str | None:
        """As `Passwords.check`: who is not there costs as much as who is."""
        mailbox = self._named(user)
        name = password[:_NAME]
        known = mailbox is not None and name.isascii() and name.isalnum()
        stored = await self._kv.get(_key(mailbox.key, name)) if mailbox is not None and known else None
        row = stored or self._dummy
        async with self._turns:
            given = await asyncio.to_thread(_hash, password, row[:_SALT])
        right = hmac.compare_digest(given, row[_SALT : _SALT + 32])
        if not right or stored is None or mailbox is None:
            return None
        return mailbox.key if _owner(stored) in mailbox.members else None

    async def renew(self, mailbox: Mailbox, user: UserId) -> str:
        """A new password of the user for the mailbox, shown this once; theirs before works no more."""
        name = _name(user)
        password = name + secrets.token_hex(_BYTES)
        salt = secrets.token_bytes(_SALT)
        async with self._turns:
            row = salt + await asyncio.to_thread(_hash, password, salt) + user.encode()
        await self._kv.put(_key(mailbox.key, name), row)
        return password

    async def remove(self, mailbox: str) -> None:
        """No password works for the mailbox (by its key) any more."""
        for key in await self._kv.items(f"{_PREFIX}{mailbox}/"):
            await self._kv.put(key, None)

    async def tidy(self) -> int:
        """Forget the passwords of who is no member any more; how many were. For when all mailboxes are known.

        They do not work anyway. Forgotten they work no more either, should the person come back.
        """
        gone = 0
        for key, row in (await self._kv.items(_PREFIX)).items():
            mailbox = self._mailboxes.get(key.removeprefix(_PREFIX).rpartition("/")[0])
            if mailbox is None or _owner(row) not in mailbox.members:
                await self._kv.put(key, None)
                gone += 1
        return gone

    def _named(self, user: str) -> Mailbox | None:
        try:
            return self._mailboxes.exact(parse_address(user))
        except ValueError:
            return None


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(errors="replace"), salt=salt, **_COST)


def _name(user: UserId) -> str:
    return hashlib.blake2b(user.encode(), digest_size=_NAME // 2).hexdigest()


def _owner(row: bytes) -> str:
    return row[_SALT + 32 :].decode(errors="replace")


def _key(mailbox: str, name: str) -> str:
    return f"{_PREFIX}{mailbox}/{name}"
