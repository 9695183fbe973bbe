"""What Echo does besides talking: optional parts of the contract, each the shortest thing that is true of it.

Leave this out of a copy, and add what your network has: `bridge_core/api/optional.py` lists it all.
"""

from bridge_core.api.events import (
    RemoteEvent,
    RemoteInfo,
    RemotePollEnd,
    RemotePresence,
    RemoteReceipt,
    RemoteSender,
    RemoteTyping,
    RemoteVote,
)
from bridge_core.api.ids import MessageId
from bridge_core.api.matrix import (
    MatrixInfo,
    MatrixMember,
    MatrixPollEnd,
    MatrixPower,
    MatrixReceipt,
    MatrixSignal,
    MatrixTyping,
    MatrixVote,
)
from bridge_core.api.network import Attempt, Inbox, Sent

_TYPING = 30.0
"""Seconds that Echo types for, at most."""


class FurtherEcho:
    """Votes as others vote, reads what others read, and lets everybody moderate."""

    def __init__(self, echo: RemoteSender, inbox: Inbox) -> None:
        self._echo = echo
        self._inbox = inbox

    async def vote(self, vote: MatrixVote, attempt: Attempt) -> Sent:
        """Vote the same in that poll."""
        said = MessageId(attempt.key)
        target = vote.target.id or MessageId("")
        return await self._say(said, RemoteVote(vote.chat, self._echo, target, vote.answers, said))

    async def end_poll(self, end: MatrixPollEnd, attempt: Attempt) -> Sent:
        """End the echo of the poll as well."""
        said = MessageId(attempt.key)
        target = echo_of(end.target.id or MessageId(""))
        return await self._say(said, RemotePollEnd(end.chat, self._echo, target, end.text, said))

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        """Nobody here objects: whoever is thrown out stays out until they speak again."""
        return Sent((MessageId(attempt.key),))

    async def change_info(self, info: MatrixInfo, attempt: Attempt) -> Sent:
        """Tell the chat's new name or topic again, which it has already."""
        said = MessageId(attempt.key)
        return await self._say(said, RemoteInfo(info.chat, self._echo, name=info.name, topic=info.topic))

    async def signal(self, signal: MatrixSignal) -> None:
        """Type when somebody types, have read what they have read, be there when they are."""
        if isinstance(signal, MatrixTyping):
            await self._inbox.receive([RemoteTyping(signal.chat, self._echo, _TYPING if signal.started else 0)])
        elif isinstance(signal, MatrixReceipt):
            if signal.target.id is not None:
                await self._inbox.receive([RemoteReceipt(signal.chat, self._echo, signal.target.id)])
        else:
            await self._inbox.receive([RemotePresence(self._echo, signal.presence, signal.status)])

    async def _say(self, said: MessageId, event: RemoteEvent) -> Sent:
        await self._inbox.receive([event])
        return Sent((said,))


def echo_of(message: MessageId) -> MessageId:
    """The id of what Echo says to a message."""
    return MessageId(f"echo-{message}")
