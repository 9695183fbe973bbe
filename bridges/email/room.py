"""How much mail is kept at once: what waits to be shown, or for a word about its author, and what is set aside."""

from typing import Final

import structlog

_log = structlog.get_logger(__name__)
_LOW: Final = 0.9


class Room:
    """Counts mails and their bytes. Full at the bounds; there is room again at nine tenths of them."""

    def __init__(self, most_mails: int, most_bytes: int) -> None:
        self._most_mails = most_mails
        self._most_bytes = most_bytes
        self._full = False
        self.mails = 0
        self.bytes = 0

    def take(self, size: int) -> None:
        """One more is kept."""
        self.mails += 1
        self.bytes += size

    def leave(self, size: int) -> None:
        """One is kept no more."""
        self.mails -= 1
        self.bytes -= size

    def fits(self, size: int) -> bool:
        """Whether there is room for one of that size."""
        share = _LOW if self._full else 1.0
        full = self.mails >= self._most_mails * share or self.bytes >= self._most_bytes * share
        if full != self._full:
            self._full = full
            if full:
                _log.warning("mail_spool_full", mails=self.mails, bytes=self.bytes)
            else:
                _log.info("mail_spool_has_room")
        # That one mail is too large for what is left says nothing of the others.
        return not full and self.bytes + size <= self._most_bytes
