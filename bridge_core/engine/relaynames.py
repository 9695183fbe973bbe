"""What people without a login are called on networks, where the relay speaks for them: names that cannot be forged.

A name is cleaned of all that turns text around, hides in it, or could end the relay's own prefix early. If it looks
like the name of anybody else in the room (Matrix users, ghosts, the bot) the full user id stands behind it.
"""

import asyncio
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import RoomId
from bridge_core.api.matrix import MatrixSender
from bridge_core.content.lookalikes import skeleton
from bridge_core.engine.matrix_ports import MatrixSide

log = structlog.get_logger(__name__)

_ROOMS: Final = 500
_NAMES: Final = 2_000
_LONGEST_NAME: Final = 40
_LONGEST_ID: Final = 80
_ACCENTS: Final = 2
"""Marks kept on one character: more of them pile up over other lines."""
_PIECE: Final = 500
"""Names looked at before others have their turn."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Ps", "Pe", "Me"})
_SPACES: Final = frozenset({"Zs", "Zl", "Zp"})
_REMOVED: Final = frozenset(
    "<>|*\u2039\u203a\u00ab\u00bb\u02c2\u02c3\u1438\u1433\u276e\u276f\u227a\u227b"  # like < and >
    "\u115f\u1160\u2800\u3164\uffa0"  # letters that show nothing
)
_COLONS: Final = frozenset(":\uff1a\ua789\u02d0\u2236\u02f8\u0589\u05c3\ufe55\ufe13")


def clean(name: str) -> str:
    """A name in one line: visible, bounded, without brackets, colons and stars; perhaps empty."""
    kept: list[str] = []
    marks = 0
    for character in unicodedata.normalize("NFC", name[:255]):
        kind = unicodedata.category(character)
        if kind == "Mn" or kind == "Mc":
            marks += 1
            if marks > _ACCENTS or not kept or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0100":
                continue
            kept.append(character)
            continue
        marks = 0
        if kind in _SPACES or character in _COLONS or character.isspace():
            kept.append(" ")
        elif kind not in _HIDDEN and character not in _REMOVED:
            kept.append(character)
    return " ".join("".join(kept).split())[:_LONGEST_NAME].strip().lstrip("@!#&+/").strip()


def shown_id(user: str) -> str:
    """A user id that fits into a name: printable ASCII without brackets, and no longer than that of most users."""
    plain = "".join(
        character if "!" <= character <= "~" and character not in "()<>[]{}|" else "?" for character in user
    )
    if plain == user and len(user) <= _LONGEST_ID:
        return user
    return f"{plain[: _LONGEST_ID - 17]}~{blake2b(user.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


@dataclass(slots=True)
class _Room:
    """How everybody in a room looks, and who looks so."""

    looks: dict[str, str] = field(default_factory=dict)
    users: dict[str, set[str]] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """Names given; good until somebody comes, goes, or changes theirs."""

    def put(self, user: str, look: str | None) -> None:
        if self.looks.get(user) == look:
            return
        self.names.clear()
        before = self.looks.pop(user, None)
        if before is not None:
            left = self.users[before]
            left.discard(user)
            if not left:
                del self.users[before]
        if look is not None:
            self.looks[user] = look
            self.users.setdefault(look, set()).add(user)

    def taken(self, look: str, user: str) -> bool:
        others = self.users.get(look)
        return others is not None and (len(others) > 1 or user not in others)


class RelayNames:
    """Names for the relay. Who is in a room is asked once and kept right by events, so a name costs no request."""

    def __init__(self, matrix: MatrixSide) -> None:
        self._matrix = matrix
        self._rooms: OrderedDict[RoomId, _Room] = OrderedDict()
        self._asking: dict[RoomId, dict[str, str | None]] = {}
        """Rooms being asked about, and who changed meanwhile."""

    async def of(self, room: RoomId, sender: MatrixSender) -> str:
        """What a sender is called in a chat. Where it cannot be known who else is there, with their full id."""
        known = self._rooms.get(room)
        if known is None:
            known = await self._ask(room)
        if known is None:
            return self._with_id(clean(sender.name), sender.id)
        name = known.names.get((sender.id, sender.name))
        if name is None:
            cleaned = clean(sender.name)
            look = skeleton(cleaned)
            alone = cleaned and not known.taken(look, sender.id)
            name = cleaned if alone else self._with_id(cleaned, sender.id)
            if len(known.names) > _NAMES:
                known.names.clear()
            known.names[sender.id, sender.name] = name
        return name

    def _with_id(self, cleaned: str, user: str) -> str:
        return f"{cleaned} ({shown_id(user)})" if cleaned else shown_id(user)

    def changed(self, room: RoomId, user: str, content: Mapping[str, Any]) -> None:
        """A membership event of anybody came in, ghosts included. Does not block: the hot path."""
        asking = self._asking.get(room)
        known = self._rooms.get(room)
        if asking is None and known is None:
            return
        joined = content.get("membership") == "join"
        look = _look(user, content.get("displayname")) if joined else None
        if asking is not None:
            asking[user] = look
        if known is not None:
            known.put(user, look)

    async def _ask(self, room: RoomId) -> _Room | None:
        changed = self._asking.setdefault(room, {})
        try:
            members = await self._matrix.members(room)
        except BridgeError as error:
            log.info("relay_names_unknown", room=room, error=str(error))
            self._asking.pop(room, None)
            return None
        made = _Room()
        for number, (user, profile) in enumerate(members.items(), 1):
            made.put(user, _look(user, profile.name))
            if not number % _PIECE:
                await asyncio.sleep(0)
        for other, look in changed.items():
            made.put(other, look)
        self._asking.pop(room, None)
        self._rooms[room] = made
        if len(self._rooms) > _ROOMS:
            self._rooms.popitem(last=False)
        return made


def _look(user: str, name: object) -> str:
    """How somebody is seen: by their name, or without one by what stands for it."""
    shown = clean(name) if isinstance(name, str) else ""
    return skeleton(shown or clean(user[1:].partition(":")[0]) or user)
