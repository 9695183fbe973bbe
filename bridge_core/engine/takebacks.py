"""A line that is taken back while the others of its event stay: of several messages that are shown as one."""

from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteSender
from bridge_core.api.ids import MessageId, RemoteUserId, RoomId
from bridge_core.engine.expiry import TIMER_EVENT
from bridge_core.engine.gate import Gate
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.members import Members
from bridge_core.engine.quoting import FOR_SOME
from bridge_core.engine.requests import ID_KEY
from bridge_core.engine.store_ports import GhostRow, MessageRow, Messages, PortalRow

_SHOWN: Final = frozenset({"m.text", "m.notice"})
_PROFILE: Final = "com.beeper.per_message_profile"
_ANEW: Final = frozenset({"body", "format", "formatted_body", "m.mentions", ID_KEY})
_BREAK: Final = "<br>"
_VOID: Final = frozenset({"br", "hr", "img"})


@dataclass(frozen=True, slots=True)
class Rest:
    """What is said anew, by whom. `ids` are those of its lines from `part` on, empty where one is gone."""

    content: dict[str, Any]
    ghost: GhostRow
    part: int
    ids: tuple[str, ...]


class Takebacks:
    """Finds out what stays. An edit would not do: what it replaces can still be read.

    What stays is a new event, which everybody can read who is in the room now: so it is said only while all of them
    could read the old one, and whoever said it may still be heard.
    """

    def __init__(self, matrix: MatrixSide, messages: Messages, ghosts: GhostPool, members: Members, gate: Gate) -> None:
        self._matrix = matrix
        self._messages = messages
        self._ghosts = ghosts
        self._members = members
        self._gate = gate

    async def against(self, portal: PortalRow, room: RoomId, sender: str, at: int) -> str:
        """Why what `sender` said at that time (ms) may not be said anew in a room; empty when it may.

        Raises TransientError, and what else the Matrix side raises: it is not said while that is not known.
        """
        try:
            self._gate.incoming(portal, RemoteSender(RemoteUserId(sender)))
        except RejectedError as error:
            return str(error)
        if any(came > at for came in (await self._members.joined_at(room)).values()):
            return "people came since who could not read it before"
        return ""

    async def rest(self, portal: PortalRow, row: MessageRow, target: MessageId) -> Rest | None:
        """What stays of an event without one of its messages; None when that is nothing, cannot be told apart, or may
        not be said anew: then all of it is taken back. Raises TransientError."""
        found = await self._messages.by_event(row.room, row.event)
        every = [one for one in found if one.portal == row.portal and not one.message.startswith("~")]
        if len({one.message for one in every}) != len(every) or len(every) < 2:
            return None
        ghost = await self._ghosts.existing(portal.network, RemoteUserId(row.sender))
        if ghost is None or any(one.sender != row.sender for one in every):
            return None
        event = await self._matrix.event(row.room, row.event, self._matrix.bot)
        if event is None or event.get("sender") != ghost.user or event.get("type") != "m.room.message":
            return None
        place = next(number for number, one in enumerate(every) if one.message == target)
        content = without(event.get("content"), place, len(every))
        if content is None:
            return None
        if await self.against(portal, row.room, row.sender, row.timestamp):
            return None
        left = {one.part: one.message for one in every if one.message != target}
        first, last = min(left), max(left)
        return Rest(content, ghost, first, tuple(left.get(part, "") for part in range(first, last + 1)))


def without(content: Any, place: int, count: int) -> dict[str, Any] | None:
    """The content without one of its lines; None when it has not exactly so many, is not of lines, or was for some
    people only."""
    if not isinstance(content, Mapping) or content.get("msgtype") not in _SHOWN or FOR_SOME in content:
        return None
    body, html, relation = content.get("body"), content.get("formatted_body"), content.get("m.relates_to")
    if not isinstance(body, str) or _PROFILE in content or TIMER_EVENT in content:
        return None
    if isinstance(relation, Mapping) and "rel_type" in relation:
        return None
    lines = body.split("\n")
    if len(lines) != count:
        return None
    out = {key: value for key, value in content.items() if key not in _ANEW}
    if not place:
        out.pop("m.relates_to", None)  # it was the first line that answered
    out["body"] = "\n".join(lines[:place] + lines[place + 1 :])
    out["m.mentions"] = {}  # whom it names was told the first time
    if isinstance(html, str):
        pieces = html.split(_BREAK)
        if len(pieces) != count or not all(map(_whole, pieces)):
            return None
        out["format"] = "org.matrix.custom.html"
        out["formatted_body"] = _BREAK.join(pieces[:place] + pieces[place + 1 :])
    return out


class _Tags(HTMLParser):
    """Whether what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.whole = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.whole = False


def _whole(html: str) -> bool:
    tags = _Tags()
    tags.feed(html)
    tags.close()
    return tags.whole and not tags.open
