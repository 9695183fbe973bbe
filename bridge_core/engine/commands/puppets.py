"""Commands about the bridge acting as the user's own Matrix account."""

from bridge_core.engine.commands.command import Answer, Call, Command
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.permissions import Permission
from bridge_core.engine.puppets import DoublePuppets

TOPIC = "Logins"


class PuppetCommands:
    """login-matrix, logout-matrix."""

    def __init__(self, commands: Commands, puppets: DoublePuppets) -> None:
        self._puppets = puppets
        user = Permission.USER
        commands.add(
            Command(
                "login-matrix",
                "[TOKEN]",
                "show what you do elsewhere under your own name here",
                user,
                self._login,
                TOPIC,
                private=True,
                secret=("token",),
            ),
            Command("logout-matrix", "", "show it under a ghost's name", user, self._logout, TOPIC, private=True),
        )

    async def _login(self, call: Call) -> Answer:
        token = call.get("token")
        if not token:
            if await self._puppets.allow(call.sender):
                return Answer("I act as you from now on.", {"double_puppet": True})
            return Answer(
                "Give me an access token of yours: login-matrix TOKEN. I can then do all that you can do on Matrix, so "
                "make one for me alone by logging in anew.",
                {"double_puppet": False},
            )
        await self._puppets.log_in(call.sender, token)
        return Answer("I act as you from now on.", {"double_puppet": True})

    async def _logout(self, call: Call) -> Answer:
        await self._puppets.log_out(call.sender)
        return Answer(
            "I act as you no more. If you gave me a token, end its session in your client.", {"double_puppet": False}
        )
