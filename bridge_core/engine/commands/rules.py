"""The command about what a room's admins set for it."""

from dataclasses import asdict, replace

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RoomId
from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.matrix_ports import MatrixRejectedError, MatrixSide
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.roomrules import (
    NAMES,
    NO_RULES,
    RULES_EVENT,
    BadRulesError,
    RoomRules,
    RulesOfRooms,
    in_words,
    parse_rules,
    rules_of,
)

_WORDS = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}


class RuleCommands:
    """rules: shown to everybody, changed by whoever may change the room."""

    def __init__(self, commands: Commands, portals: PortalIndex, matrix: MatrixSide, rules: RulesOfRooms) -> None:
        self._portals = portals
        self._matrix = matrix
        self._rules = rules
        words = "what this room has set for itself: copies, relay, max_age (seconds), max_lines; default: no more"
        commands.add(Command("rules", "[NAME] [VALUE]", words, Permission.USER, self._show, "Rooms"))

    async def _show(self, call: Call) -> Answer:
        room, name, value = call.here(), call.get("name").lower(), call.get("value").lower()
        rows = self._portals.in_room(room)
        if not rows:
            return Answer("This room is not bridged.")
        rules = rules_of(rows[0], room)
        if name:
            rules = _changed(rules, name, value)
            if call.level is not Permission.ADMIN and not await self._matrix.may_change(room, call.sender):
                raise RejectedError("you may not change this room's settings")
            await self._set(room, rules)
        return Answer(in_words(rules), asdict(rules))

    async def _set(self, room: RoomId, rules: RoomRules) -> None:
        try:
            await self._matrix.set_state(room, RULES_EVENT, "", rules.content(), self._matrix.bot)
        except MatrixRejectedError as error:
            raise RejectedError(
                f"the bridge may not set state here ({error.errcode}): give it the power, or send the state event "
                f"{RULES_EVENT} yourself"
            ) from error
        await self._rules.keep(room, rules)


def _changed(rules: RoomRules, name: str, value: str) -> RoomRules:
    if name not in NAMES:
        raise UsageError(f"there is no setting {name}; there are: {', '.join(NAMES)}")
    if not value:
        raise UsageError(f"say rules {name} with on, off, a number, or default")
    if value == "default":
        return replace(rules, **{name: getattr(NO_RULES, name)})
    given = _WORDS.get(value, int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value)
    try:
        return replace(rules, **{name: getattr(parse_rules({name: given}), name)})
    except BadRulesError as error:
        raise UsageError(str(error)) from error
