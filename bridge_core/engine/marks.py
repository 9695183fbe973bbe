"""How far each chat's history is known: one mark per portal and login, committed with the events it stands behind."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson
import structlog

from bridge_core.api.ids import LoginId, NetworkId, PortalKey
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import KeyValues, PortalRow

log = structlog.get_logger(__name__)

NAMESPACE: Final = "backfill"
"""Key-value namespace of the marks."""


class Todo(StrEnum):
    """What is still to be fetched of a chat, whatever happens to the process meanwhile."""

    NOTHING = ""
    INITIAL = "initial"
    """What was said before anybody of Matrix was there."""
    MISSED = "missed"
    """What was said while the connection was away; some of it may be there already."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a chat's history goes on. Times are milliseconds since 1970.

    What is older than `since` is left; `at` is the time up to which the chat is known; `cursor` is the network's own
    word for it, None while there is none.
    """

    since: int
    at: int
    cursor: bytes | None = None
    todo: Todo = Todo.NOTHING


class Marks:
    """All marks, in memory (some 200 bytes each), written with whatever they stand behind."""

    def __init__(self, kv: KeyValues) -> None:
        self._kv = kv
        self._marks: dict[str, Mark] = {}

    async def load(self, network: NetworkId) -> None:
        """Read those of a network, once, at start."""
        for key, value in (await self._kv.items(NAMESPACE, f"{network}\x1f")).items():
            try:
                since, at, cursor, todo = orjson.loads(value)
                self._marks[key] = Mark(since, at, None if cursor is None else b64decode(cursor), Todo(todo))
            except (ValueError, TypeError) as error:
                log.warning("backfill_mark_unreadable", network=network, error=str(error))

    def get(self, portal: PortalRow, login: LoginId | None) -> Mark | None:
        """The mark of a chat; None when nothing is known yet."""
        return self._marks.get(_key(portal, login))

    def unfinished(self) -> Iterator[str]:
        """Lanes of the chats of which something is still to be fetched."""
        for key, mark in self._marks.items():
            if mark.todo:
                yield key.rpartition("\x1e")[0]

    def write(self, portal: PortalRow, login: LoginId | None, mark: Mark) -> Write:
        """The row, to be committed with an append; `put` it once it is."""
        cursor = None if mark.cursor is None else b64encode(mark.cursor).decode()
        row = orjson.dumps([mark.since, mark.at, cursor, mark.todo.value])
        return self._kv.write(NAMESPACE, _key(portal, login), row)

    def put(self, portal: PortalRow, login: LoginId | None, mark: Mark) -> None:
        """The mark is committed."""
        self._marks[_key(portal, login)] = mark


def _key(portal: PortalRow, login: LoginId | None) -> str:
    return f"{PortalKey(portal.network, portal.chat, portal.receiver).lane()}\x1e{login or ''}"
