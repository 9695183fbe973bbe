"""Relayed users under nicks of their own (draft/relaymsg): where the server and the channel let the bot do that."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from bridge_core.api.content import Kind
from bridge_core.api.errors import NotConnectedError, RejectedError, UnknownOutcomeError
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.matrix import MatrixMessage
from bridge_core.api.network import Sent
from bridges.irc.codec.ctcp import ACTION_BYTES
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.nicks import alternatives, make_nick
from bridges.irc.session import Session
from bridges.irc.splitting import Envelope
from bridges.irc.state import NetworkState
from bridges.irc.to_network import Writer
from bridges.irc.writing import Unit, write

log = structlog.get_logger(__name__)
CAPABILITY: Final = "draft/relaymsg"
_MARK: Final = "m"
"""What stands behind the separator: `anna/m`."""
_AGAIN: Final = 600.0
"""Seconds for which a channel that refused it is not asked again."""
_NICKS_AT_MOST: Final = 10_000


class RelayMsg:
    """The made-up nicks of one session of the relay. The first message in each channel is waited for: a channel that
    does not allow it gets the message as ordinary relayed lines, in its place."""

    def __init__(self, state: NetworkState, session: Session) -> None:
        self._state = state
        self._session = session
        self._proved: set[ChatId] = set()
        self._barred: dict[ChatId, float] = {}
        self._nicks: dict[str, UserId] = {}

    def takes(self, message: MatrixMessage) -> bool:
        """Whether a message may be said so."""
        return (
            self._state.config.messages.relaymsg
            and message.relayed
            and CAPABILITY in self._session.caps.enabled
            and message.content.kind is not Kind.NOTICE
            and self._state.is_channel(message.chat)
            and self._barred.get(message.chat, 0.0) <= self._now()
        )

    async def send(self, message: MatrixMessage, writer: Writer, tags: Mapping[str, str]) -> Sent | None:
        """Says it under its sender's nick; None when the channel does not allow that, and nothing was said.

        Raises the errors of `Client.send`.
        """
        chat, session = message.chat, self._session
        nick = self._nick(message.sender.id, message.sender.name)
        said = writer.say(
            message.content,
            message.sender,
            message.reply_to,
            False,
            lambda command, action: Envelope(nick).room("PRIVMSG", chat) - (ACTION_BYTES if action else 0),
            most=message.max_lines,
        )
        if not said.texts:
            raise RejectedError("the message has nothing that can be said on IRC")
        try:
            units = [Unit("RELAYMSG", text, serialize("RELAYMSG", chat, nick, text)) for text in said.texts]
        except UnsafeLine as error:
            raise RejectedError(f"it cannot be sent on IRC: {error}") from None
        if chat in self._proved:
            sent = await write(self._state, session, chat, units, tags, observed=False)
            if sent.confirmation is not None:
                sent.confirmation.add_done_callback(lambda ended: self._ended(chat, ended))
            return sent
        # The first line alone: were it refused and another not, the fallback would say that one twice.
        first = await write(self._state, session, chat, units[:1], tags, observed=False)
        assert first.confirmation is not None
        try:
            proof = await asyncio.shield(first.confirmation)
        except RejectedError as error:
            self._barred[chat] = self._now() + _AGAIN
            log.info("irc_relaymsg_refused", network=self._state.network, chat=chat, reason=str(error))
            return None
        self._proved.add(chat)
        if len(units) == 1:
            return proof
        try:
            rest = await write(self._state, session, chat, units[1:], {}, observed=False)
        except NotConnectedError as error:
            raise UnknownOutcomeError("the connection broke in the middle of the message") from error
        return Sent(proof.ids, rest.proof, rest.confirmation)

    def _ended(self, chat: ChatId, ended: "asyncio.Future[Sent]") -> None:
        """A refusal sends this message back; the next one asks anew."""
        if not ended.cancelled() and isinstance(ended.exception(), RejectedError):
            self._proved.discard(chat)

    def _nick(self, user: UserId, name: str) -> str:
        """A nick with the server's separator in it, no two users' the same."""
        separator = (self._session.caps.available.get(CAPABILITY, "") or "/")[0]
        room = max(1, self._state.nicklen - 2)
        if len(self._nicks) >= _NICKS_AT_MOST:
            self._nicks.clear()
        for nick in alternatives(make_nick("$DISPLAY", user, name, room), room):
            if self._nicks.setdefault(self._state.isupport.fold(nick), user) == user:
                return f"{nick}{separator}{_MARK}"
        raise RejectedError("no nick is left for you on IRC")

    def _now(self) -> float:
        return self._state.running.clock.monotonic()
