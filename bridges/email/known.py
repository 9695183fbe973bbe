"""Keys of mails that were accepted, as far as memory holds them: so that the database is asked about few."""

from collections import OrderedDict
from typing import Final

_MOST: Final = 200_000


class Known:
    """What the spool has or remembers. With more than memory holds, `may_be` is true of everything."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._confirmed: OrderedDict[str, None] = OrderedDict()
        self._complete = False

    def complete(self, count: int) -> None:
        """All of `count` keys were added."""
        self._complete = count <= _MOST

    def may_be(self, key: str) -> bool:
        """Whether the database has to be asked."""
        return key in self._keys or not self._complete

    def add(self, key: str) -> None:
        """There is such a mail."""
        self._keys[key] = None
        if len(self._keys) > _MOST:
            self._keys.popitem(last=False)
            self._complete = False

    def forget(self, key: str) -> None:
        """There is none any more."""
        self._keys.pop(key, None)

    def confirm(self, key: str) -> None:
        """Its client is known to have heard that it was taken."""
        self._confirmed[key] = None
        if len(self._confirmed) > _MOST:
            self._confirmed.popitem(last=False)

    def confirmed(self, key: str) -> bool:
        """Whether that was said."""
        return key in self._confirmed

    def unconfirm(self, key: str) -> None:
        """The next one is another mail."""
        self._confirmed.pop(key, None)
