"""The command about messages that disappear."""

from bridge_core.api.errors import RejectedError
from bridge_core.config.types import format_duration, parse_duration
from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.expiry import LONGEST, TIMER
from bridge_core.engine.matrix_ports import MatrixSide
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.timers import TimerChanges


class ExpiryCommands:
    """expiry: shown to everybody, changed by whoever may change the room."""

    def __init__(self, commands: Commands, portals: PortalIndex, matrix: MatrixSide, timers: TimerChanges) -> None:
        self._portals = portals
        self._matrix = matrix
        self._timers = timers
        words = "after which time messages disappear from this room: 30s, 1h, 7d"
        commands.add(Command("expiry", "[TIME|off]", words, Permission.USER, self._expiry, "Rooms"))

    async def _expiry(self, call: Call) -> Answer:
        room, wanted = call.here(), call.get("time|off").lower()
        rows = self._portals.in_room(room)
        if not rows:
            return Answer("This room is not bridged.")
        if not wanted:
            timer = max(int(row.options.get(TIMER, 0)) for row in rows)
            return Answer(_words(timer), {"milliseconds": timer})
        timer = _parsed(wanted)
        if call.level is not Permission.ADMIN and not await self._matrix.may_change(room, call.sender):
            raise RejectedError("you may not change this room's settings")
        await self._timers.set(room, call.sender, timer, call.event)
        return Answer(_words(timer), {"milliseconds": timer})


def _parsed(text: str) -> int:
    if text == "off":
        return 0
    try:
        milliseconds = float(parse_duration(text)) * 1000
    except ValueError:
        raise UsageError("say expiry with a time such as 30s, 1h or 7d, or expiry off") from None
    if not 1000 <= milliseconds <= LONGEST:  # also what is no number
        raise UsageError("the time is between one second and ten years; say expiry off for none")
    return int(milliseconds)


def _words(timer: int) -> str:
    if not timer:
        return "Messages here do not disappear."
    return f"Messages here disappear {format_duration(timer / 1000)} after they were sent."
