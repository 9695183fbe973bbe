"""What admins may know and do about connections of users and bans by the network."""

from collections.abc import Sequence
from typing import Final

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import LoginId
from bridges.irc.bans import Bans
from bridges.irc.scheduler import Scheduler

_SHOWN: Final = 50


class BanCommands:
    """network-bans and forgive."""

    def __init__(self, bans: Bans, scheduler: Scheduler) -> None:
        self._bans = bans
        self._scheduler = scheduler

    def commands(self) -> Sequence[AdapterCommand]:
        """Both of them, for admins."""
        return (
            AdapterCommand(
                "network-bans",
                "",
                "how many connections there are, and whom the network has banned",
                self._list,
                level=CommandLevel.ADMIN,
            ),
            AdapterCommand(
                "forgive",
                "USER",
                "let a Matrix user connect again whom the network has banned, and every address of ours",
                self._forgive,
                level=CommandLevel.ADMIN,
            ),
        )

    async def _list(self, call: CommandCall) -> str:
        waiting, opening, open_now = self._scheduler.counts
        lines = [f"Connections of users: {open_now}; being made: {opening}; waiting: {waiting}."]
        common = self._bans.of_address("")
        if common is not None:
            lines.append(f"The network wants no connections from our address: {common}")
        bans = self._bans.all()
        lines += [f"{login}: {ban.kind or 'banned'}, {ban.reason}" for login, ban in list(bans.items())[:_SHOWN]]
        if len(bans) > _SHOWN:
            lines.append(f"... and {len(bans) - _SHOWN} more")
        return "\n".join(lines if bans else [*lines, "Nobody is banned."])

    async def _forgive(self, call: CommandCall) -> str:
        if not await self._scheduler.forgive(LoginId(call["user"])):
            raise RejectedError("neither that user nor an address of ours is banned")
        return "They may connect again; the next message brings them."
