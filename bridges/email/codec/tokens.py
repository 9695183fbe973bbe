"""Names that only we can make: Message-IDs and return paths. Opaque, and known again without a look into a store."""

import base64
import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

_MADE: Final = 13
"""Characters (5 bits each) that tell one id from another."""
_PROOF: Final = 7
"""Characters that prove that it is ours."""
_ID: Final = re.compile(rf"mid\.([a-z2-7]{{{_MADE}}})([a-z2-7]{{{_PROOF}}})@(.+)")
_ROW: Final = re.compile(r"[a-z2-7]{24}")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and knows them. `secret` is the network's own, of 16 bytes at least."""

    secret: bytes = field(repr=False)

    def message_id(self, key: str, domain: str) -> str:
        """The Message-ID, without brackets, of what `key` names: always the same, and telling nothing of it.

        At most 60 characters with a domain of up to 35: longer ones are broken by some programs (in CPython an id of
        78 in References becomes an encoded word).
        """
        made = self._sign("id", key, _MADE)
        return f"mid.{made}{self._sign('ours', f'{made}@{domain}', _PROOF)}@{domain}"

    def ours(self, message_id: str) -> bool:
        """Whether the id was made here. Somebody who has seen it can repeat it."""
        found = _ID.fullmatch(message_id)
        return found is not None and self._proves("ours", f"{found[1]}@{found[3]}", found[2])

    def row(self, mail: str, recipient: str) -> str:
        """The name of one recipient of one mail: 24 characters."""
        return self._sign("row", f"{mail}\0{recipient}", 24)

    def returning(self, row: str) -> str:
        """The token of the reverse-path for a row: 31 characters."""
        return row + self._sign("return", row, _PROOF)

    def returned(self, token: str) -> str | None:
        """The row that a token of a reverse-path is about; None where we did not make it."""
        token = token.lower()
        row, proof = token[:24], token[24:]
        return row if _ROW.fullmatch(row) and self._proves("return", row, proof) else None

    def _proves(self, use: str, text: str, proof: str) -> bool:
        return hmac.compare_digest(self._sign(use, text, _PROOF).encode(), proof.encode(errors="replace"))

    def _sign(self, use: str, text: str, length: int) -> str:
        digest = hmac.digest(self.secret, f"{use}\0{text}".encode(errors="replace"), sha256)
        return base64.b32encode(digest).decode().lower()[:length]
