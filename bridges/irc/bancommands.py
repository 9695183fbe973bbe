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
                "[USER]",
                "let a Matrix user connect again whom the network has banned, and the bot and every address of ours",
                self._forgive,
                level=CommandLevel.ADMIN,
            ),
        )

    async def _list(self, call: CommandCall) -> str:
        waiting, opening, open_now = self._scheduler.counts
        lines = [f"Connections of users: {open_now}; being made: {opening}; waiting: {waiting}."]
        kept = (
            ("The network wants no connections from our address", self._bans.of_address("")),
            ("The network keeps the bot away", self._bans.of_bot()),
            ("Our address connected too fast", self._bans.held("")),
        )
        lines += [f"{what} for {_span(self._bans.left(ban))}: {ban.reason}" for what, ban in kept if ban is not None]
        bans = self._bans.all()
        lines += [f"{login}: {ban.kind or 'banned'}, {ban.reason}" for login, ban in list(bans.items())[:_SHOWN]]
        if len(bans) > _SHOWN:
            lines.append(f"... and {len(bans) - _SHOWN} more")
        return "\n".join(lines if bans else [*lines, "Nobody is banned."])

    async def _forgive(self, call: CommandCall) -> str:
        user = call.get("user")
        if not await self._scheduler.forgive(LoginId(user) if user else None):
            raise RejectedError(f"neither {'that user' if user else 'the bot'} nor an address of ours is banned")
        return "They may connect again; the bot does at once, users with their next message."


def _span(seconds: float) -> str:
    """About how long."""
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
