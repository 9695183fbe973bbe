"""Who is called what: a name that somebody else has already is shown with its owner's address."""

from collections import OrderedDict
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from bridge_core.api.host import KV
from bridge_core.content.lookalikes import skeleton
from bridges.email.people import Author
from bridges.email.threads import Rows

_MOST: Final = 10_000


class Names:
    """The names of the people of a network, by what they look like. The first who proves who they are has the name."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def marked(self, author: Author) -> Author:
        """The same; with their address in their name where the name is that of somebody else."""
        key = _key(author)
        if not key:
            return author
        owner = self._owners.get(key)
        if owner is None:
            row = await self._kv.get(key)
            if row is None:
                return author
            owner = row.decode()
            self._owners[key] = owner
            if len(self._owners) > _MOST:
                self._owners.popitem(last=False)
        return replace(author, namesake=owner != author.address.key)

    async def rows(self, author: Author) -> Rows:
        """What to commit with their mail: the name is theirs, where it was nobody's and they prove who they are."""
        key = _key(author)
        if not author.verified or not key or key in self._owners or await self._kv.get(key) is not None:
            return {}
        return {key: author.address.key.encode()}


def _key(author: Author) -> str:
    name = skeleton(" ".join(author.address.name.split()))
    if not name or "@" in author.address.name:
        return ""
    return f"n/{blake2b(name.encode(errors='replace'), digest_size=16).hexdigest()}"
