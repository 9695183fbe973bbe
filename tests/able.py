"""The scripted network whose clients also edit, take back, react, vote and change what a chat is called."""

from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixPollEnd,
    MatrixReaction,
    MatrixRedaction,
    MatrixVote,
)
from bridge_core.api.network import Attempt, Consent, Inbox, Login, Sent
from tests.scripted import Script, ScriptedClient, ScriptedConnector


class AbleScript(Script):
    """A script for able clients. `consent` is what chats say to being bridged."""

    consent = Consent.GRANTED

    def __call__(self, network: NetworkId, config: object) -> "AbleConnector":
        """As a connector factory."""
        return AbleConnector(self, network)


class AbleConnector(ScriptedConnector):
    """Makes able clients, for the network and for logins; asks chats whether they want to be bridged."""

    async def consent(self, chat: ChatId, asked_by: UserId, room: RoomFacts | None) -> Consent:
        assert isinstance(self._script, AbleScript)
        return self._script.consent

    def client(self, login: Login | None, inbox: Inbox) -> "AbleClient":
        return AbleClient(self._script, login, inbox)


class AbleClient(ScriptedClient):
    """Takes everything that is said, and answers as the script says."""

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        return self._take(edit, attempt)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        return self._take(redaction, attempt)

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        return self._take(reaction, attempt)

    async def vote(self, vote: MatrixVote, attempt: Attempt) -> Sent:
        return self._take(vote, attempt)

    async def end_poll(self, end: MatrixPollEnd, attempt: Attempt) -> Sent:
        return self._take(end, attempt)

    async def change_info(self, info: MatrixInfo, attempt: Attempt) -> Sent:
        return self._take(info, attempt)
