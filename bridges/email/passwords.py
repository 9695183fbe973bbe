"""Passwords for mail programs and scripts: made by the bridge, one for each mailbox, kept as hashes."""

import asyncio
import hashlib
import hmac
import secrets
from typing import Final

from bridge_core.api.host import KV
from bridges.email.codec.addresses import parse_address
from bridges.email.mailboxes import Mailbox, Mailboxes

_COST: Final = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}
"""Of scrypt: 16 MiB and some 50 ms each. The doors hold guessers back; this is for who gets hold of the database."""
_AT_ONCE: Final = 2
"""Checks at the same time: others wait their turn, within the time that the door gives them."""
_SALT: Final = 16
_BYTES: Final = 15
"""Of randomness in a password: 24 letters and digits."""


class StoredPasswords:
    """Implements `Passwords`: a user is a mailbox's address, a login its key."""

    def __init__(self, kv: KV, mailboxes: Mailboxes) -> None:
        self._kv = kv
        self._mailboxes = mailboxes
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._dummy = secrets.token_bytes(_SALT + 32)

    async def check(self, user: str, password: str, peer: str) -> str | None:
        """As `Passwords.check`: who is not there costs as much as who is."""
        mailbox = self._named(user)
        stored = await self._kv.get(_key(mailbox.key)) if mailbox is not None else None
        row = stored or self._dummy
        async with self._turns:
            given = await asyncio.to_thread(_hash, password, row[:_SALT])
        right = hmac.compare_digest(given, row[_SALT:])
        return mailbox.key if right and stored is not None and mailbox is not None else None

    async def renew(self, mailbox: Mailbox) -> str:
        """A new password for the mailbox, shown this once; the one before works no more."""
        password = secrets.token_hex(_BYTES)
        salt = secrets.token_bytes(_SALT)
        async with self._turns:
            row = salt + await asyncio.to_thread(_hash, password, salt)
        await self._kv.put(_key(mailbox.key), row)
        return password

    async def remove(self, mailbox: str) -> None:
        """No password works for the mailbox (by its key) any more."""
        await self._kv.put(_key(mailbox), None)

    def _named(self, user: str) -> Mailbox | None:
        try:
            return self._mailboxes.exact(parse_address(user))
        except ValueError:
            return None


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(errors="replace"), salt=salt, **_COST)


def _key(mailbox: str) -> str:
    return f"password/{mailbox}"
