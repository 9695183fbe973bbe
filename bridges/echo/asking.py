"""What Echo's connector can be asked, where it is configured to: for consent, and for logins.

Leave this out of a copy whose network has neither.
"""

from collections.abc import Mapping

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.api.login import AskUser, Complete, FieldKind, LoginField, LoginFlow, LoginStep
from bridge_core.api.network import Consent

FLOWS = (LoginFlow("password", "Name and password", "The password is the name backwards."),)


class AskedEcho:
    """The part of a connector that answers. With `ASKED` nothing crosses until somebody says so by RemoteConsent."""

    _consent = Consent.GRANTED

    async def consent(self, chat: ChatId, asked_by: UserId, room: RoomFacts | None) -> Consent:
        """The same for all chats."""
        return self._consent

    def login(self, user: UserId, flow: str) -> "EchoLogin":
        """A new login. Without flows in `meta` nobody gets here."""
        return EchoLogin()


class EchoLogin:
    """A login in one step. Nothing waits for the network."""

    async def start(self) -> LoginStep:
        """Ask for both at once."""
        fields = (LoginField("name", "Name"), LoginField("password", "Password", FieldKind.SECRET))
        return AskUser("Who are you?", fields)

    async def submit(self, answers: Mapping[str, str]) -> LoginStep:
        """Done when the password is right; else the same is asked again."""
        name = answers["name"].lower()
        if answers["password"] != name[::-1]:
            raise RejectedError("the password is the name backwards")
        return Complete(name, name.title(), secrets={"password": answers["password"]})

    async def wait(self) -> LoginStep:
        """Nothing is ever shown."""
        raise RejectedError("there is nothing to wait for")

    async def cancel(self) -> None:
        """Nothing to give up."""
