"""The command about which people of a chat are in its room."""

from collections.abc import Awaitable, Callable

from bridge_core.engine.commands.command import Answer, Call, Command, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.permissions import Permission
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.remote_members import EAGER, RemoteMemberships
from bridge_core.engine.store_ports import PortalRow

_SAID = {True: "everybody of the chat", False: "who has spoken"}


class MemberCommands:
    """members. `fill` makes a portal's rooms like what its network knows of the chat."""

    def __init__(
        self,
        commands: Commands,
        portals: PortalIndex,
        memberships: RemoteMemberships,
        fill: Callable[[PortalRow], Awaitable[None]],
    ) -> None:
        self._portals = portals
        self._memberships = memberships
        self._fill = fill
        admin = Permission.ADMIN
        commands.add(
            Command("members", "[eager|lazy]", "who of a chat is in this room", admin, self._members, "Rooms"),
        )

    async def _members(self, call: Call) -> Answer:
        wanted, rows = call.get("eager|lazy").lower(), self._portals.in_room(call.here())
        if not rows:
            return Answer("This room is not bridged.")
        if wanted not in ("", "eager", "lazy"):
            raise UsageError("say members eager or members lazy")
        if wanted:
            for row in rows:
                now = await self._portals.set_option(row, EAGER, wanted)
                if wanted == "eager":
                    await self._fill(now)
                else:
                    await self._memberships.expect_nobody(now)
            rows = self._portals.in_room(call.here())
        shown = {f"{row.network} {row.chat}": self._memberships.eager(row) for row in rows}
        text = "\n".join(f"{name}: {_SAID[eager]} is here" for name, eager in shown.items())
        return Answer(text, {name: "eager" if eager else "lazy" for name, eager in shown.items()})
