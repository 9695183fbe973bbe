"""What a room's own admins set for it, by a state event: they may take less than the configuration gives, never more.

Who may set state in a room is for its power levels to say, which the homeserver enforces. Each setting event is
answered in words, and one with a mistake in it changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, RoomId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.portals import RULES, PortalIndex
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

RULES_EVENT: Final = "dev.matrix_bridge.room_rules"
"""Type of the state event; its state key is empty."""
_LONGEST_AGE: Final = 30 * 86_400
_MOST_LINES: Final = 1_000


class BadRulesError(ValueError):
    """A setting is not one, or has a value that it cannot have; in words for whoever set it."""


@dataclass(frozen=True, slots=True)
class RoomRules:
    """A room's own settings. `max_age` is seconds, 0 for no limit of its own; `max_lines` likewise."""

    copies: bool = True
    """Whether what is said in the chat's other rooms is shown here, and what is said here there."""
    relay: bool = True
    """Whether the relay speaks for people here who have no connection of their own."""
    max_age: int = 0
    max_lines: int = 0

    def content(self) -> dict[str, Any]:
        """The content of the event that says so: what is as without it is left out."""
        return {name: value for name in NAMES if (value := getattr(self, name)) != getattr(NO_RULES, name)}


NO_RULES: Final = RoomRules()
_SAID: Final[Mapping[str, Mapping[bool, str]]] = {
    "copies": {
        True: "What is said in other rooms of this chat is copied here.",
        False: "Nothing is copied from other rooms of this chat, and nothing from here to them.",
    },
    "relay": {
        True: "The relay speaks for people without a connection of their own.",
        False: "Only people with a connection of their own are heard.",
    },
}
_NUMBERS: Final[Mapping[str, tuple[int, str]]] = {
    "max_age": (_LONGEST_AGE, "What is older than {} seconds is not passed on."),
    "max_lines": (_MOST_LINES, "A message has at most {} lines there."),
}


NAMES: Final = (*_SAID, *_NUMBERS)


def parse_rules(content: Mapping[str, Any]) -> RoomRules:
    """The settings that an event's content makes. Raises BadRulesError."""
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name in _SAID:
            if not isinstance(value, bool):
                raise BadRulesError(f"{name} is true or false")
        elif name in _NUMBERS:
            most = _NUMBERS[name][0]
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise BadRulesError(f"{name} is a whole number from 1 to {most}")
        else:
            shown = "".join(character for character in name[:40] if character.isprintable())
            raise BadRulesError(f"there is no setting {shown!r}; there are: {', '.join(NAMES)}")
        values[name] = value
    return RoomRules(**values)


def rules_of(portal: PortalRow, room: RoomId) -> RoomRules:
    """What a room's admins have set. From memory: asked for each message."""
    kept = portal.options.get(RULES)
    if not kept or (values := kept.get(room)) is None:
        return NO_RULES
    return RoomRules(**values)


def restricted(message: MatrixOutgoing, rules: RoomRules, relayed: bool) -> MatrixOutgoing:
    """A message as its room lets it go out. Raises RejectedError in words for the sender."""
    if rules is NO_RULES:
        return message
    if relayed and not rules.relay:
        raise RejectedError("this room lets only people with a connection of their own be heard")
    if rules.max_lines and isinstance(message, MatrixMessage | MatrixEdit):
        return replace(message, max_lines=rules.max_lines)
    return message


class RulesOfRooms:
    """Reads the settings of rooms, and answers those who set them. The only writer of this option of portals."""

    def __init__(self, portals: PortalIndex, matrix: MatrixSide, status: Status) -> None:
        self._portals = portals
        self._matrix = matrix
        self._status = status

    async def changed(self, event: Mapping[str, Any]) -> None:
        """A handler of room events: somebody with the power to set state has set them."""
        room = RoomId(event["room_id"])
        if event["state_key"] or not self._portals.in_room(room):
            return
        try:
            rules = parse_rules(event["content"])
        except BadRulesError as error:
            text = f"These settings of the room are not in force, and nothing has changed: {error}."
        else:
            await self.keep(room, rules)
            text = in_words(rules)
        about = EventId(event["event_id"])
        await self._status.say(room, text, about=about, key=f"rules\x1f{about}")

    async def bridged(self, portal: PortalRow, room: RoomId) -> None:
        """A room that was there is bridged now: what it has set already holds from the beginning."""
        try:
            content = await self._matrix.state(room, RULES_EVENT)
            if content:
                await self._keep(portal, room, parse_rules(content))
        except BadRulesError as error:
            await self._status.say(room, f"The settings of this room are not in force: {error}.")
        except RejectedError as error:
            log.info("room_rules_not_read", room=room, error=str(error))

    async def keep(self, room: RoomId, rules: RoomRules) -> None:
        """These are a room's settings from now on; returns when that is stored."""
        for portal in self._portals.in_room(room):
            await self._keep(portal, room, rules)

    async def _keep(self, portal: PortalRow, room: RoomId, rules: RoomRules) -> None:
        await self._portals.set_for_room(portal, RULES, room, lambda before: rules.content())


def in_words(rules: RoomRules) -> str:
    """What a room has set, for people."""
    said = [words[getattr(rules, name)] for name, words in _SAID.items() if not getattr(rules, name)]
    said += [words.format(value) for name, (_, words) in _NUMBERS.items() if (value := getattr(rules, name))]
    return "\n".join(said) or "This room has no settings of its own."
