"""Which reactions each person has on a mail: mail programs say the new one only, and mean that the old one is gone."""

from hashlib import blake2b

import orjson

from bridge_core.api.host import KV
from bridge_core.api.ids import RemoteUserId
from bridges.email.threads import Rows


class Reactions:
    """Kept in the network's store; changes are rows that are committed with their events."""

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    async def of(self, mailbox: str, target: str, person: RemoteUserId) -> tuple[str, ...]:
        """The person's reactions on a mail, the oldest first."""
        row = await self._kv.get(_key(mailbox, target, person))
        return tuple(orjson.loads(row)) if row else ()

    def row(self, mailbox: str, target: str, person: RemoteUserId, keys: tuple[str, ...]) -> Rows:
        """What to commit: they are these now."""
        return {_key(mailbox, target, person): orjson.dumps(keys)}


def _key(mailbox: str, target: str, person: str) -> str:
    name = "\0".join((mailbox, target, person)).encode(errors="replace")
    return f"r/{blake2b(name, digest_size=16).hexdigest()}"
