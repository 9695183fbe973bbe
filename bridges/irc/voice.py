"""How a client of this network speaks: shared by the relay and the puppets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from bridge_core.api.content import Content, MediaKind
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import Membership
from bridge_core.api.ids import ChatId, MessageId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixPower,
    MatrixSender,
    MessageRef,
)
from bridge_core.api.network import Attempt, Capabilities, Level, Sent
from bridges.irc import people
from bridges.irc.codec.multiline import groups, serialize_batch
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.moderation import Moderation
from bridges.irc.nicks import BadName
from bridges.irc.session import Session
from bridges.irc.splitting import NoRoom, split
from bridges.irc.state import NetworkState
from bridges.irc.to_network import Said, Writer
from bridges.irc.writing import Unit, write

NO_TAGS: Final[Mapping[str, str]] = {}
_NONE: Final = (False, False, False, False)
_FILES: Final = {kind.value: Level.FALLBACK for kind in MediaKind}
_OLD: Final = 300_000
"""Milliseconds after which what is answered has scrolled away."""
_QUOTED: Final = 80
REDACTION_CAPS: Final = ("message-redaction", "draft/message-redaction")


class Spoken(Protocol):
    """What lines are made of: a message, or what is said about one."""

    @property
    def content(self) -> Content: ...

    @property
    def sender(self) -> MatrixSender: ...

    @property
    def relayed(self) -> bool: ...


class Voice(ABC):
    """`send` and what else is written by a client, over the session that `_line` names."""

    def __init__(self, state: NetworkState) -> None:
        self._state = state
        self._writer: Writer | None = None
        self._batches = 0
        self._can: dict[tuple[bool, bool, bool, bool], Capabilities] = {}

    @abstractmethod
    async def _line(self, chat: ChatId) -> Session:
        """The session that may speak in a chat now. Raises NotConnectedError or RejectedError."""

    @abstractmethod
    def _current(self) -> Session | None:
        """The session, if there is one."""

    def _addressee(self, chat: ChatId) -> str | None:
        """Under which nick the partner of a private chat is now, once `_line` has found them; None for nowhere."""
        return people.nick_of(chat)

    @abstractmethod
    def _observed(self, chat: ChatId) -> bool:
        """Whether another connection will see what is said in a chat."""

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """Writes a message; `confirmation` ends when the network has it, as `flight` says."""
        session = await self._line(message.chat)
        most = message.max_lines
        said = await self._linked(message, self._compose(session, message.chat, message, message.reply_to, most=most))
        sent = await self._say(session, message.chat, said, self._reply_tags(session, message.reply_to))
        self._state.recent.put(message.event_id, self._writing().words(message.content))
        return sent

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        """Kicks, bans, invites, gives modes. The relay does it for others only where that is configured."""
        self._may_steer(act.relayed)
        session = await self._line(act.chat)
        self._target(act.chat)
        command = Moderation(self._state).command(act)
        if command is None:
            return Sent()
        if isinstance(act, MatrixMember) and act.membership is Membership.BAN and act.remote is not None:
            await self._state.sanctions.note(act.chat, act.remote, command.lines[0][-1])
        texts = [line[-1] for line in command.lines]
        sent = await self._transmit(session, act.chat, command.name, texts, command.lines, NO_TAGS)
        for line in command.then:
            session.tell(*line)
        return sent

    async def change_info(self, info: MatrixInfo, attempt: Attempt) -> Sent:
        """Sets the topic; channels have no other name and no picture."""
        self._may_steer(info.relayed)
        if info.topic is None:
            raise UnsupportedError("channels on IRC have a topic, and no other name or picture")
        session = await self._line(info.chat)
        topic = " ".join(info.topic.split())
        limit = self._state.isupport.topiclen
        if limit is not None and len(topic.encode()) > limit:
            raise RejectedError(f"topics on this network have at most {limit} bytes")
        return await self._transmit(session, info.chat, "TOPIC", [topic], [[self._target(info.chat), topic]], NO_TAGS)

    async def say_to(self, chat: ChatId, status: str, text: str) -> None:
        """Says something to those with a status in a channel (STATUSMSG), and waits for the proof. Raises as `send`."""
        session = await self._line(chat)
        target = status + self._target(chat)
        try:
            pieces = split(text, session.identity.room("PRIVMSG", target, False))
        except NoRoom as error:
            raise RejectedError(str(error)) from None
        if not 0 < len(pieces) <= self._state.config.max_lines:
            raise RejectedError("that is nothing, or too long")
        lines = [[target, piece] for piece in pieces]
        sent = await self._transmit(session, chat, "PRIVMSG", pieces, lines, NO_TAGS)
        if sent.confirmation is not None:
            await sent.confirmation

    def _may_steer(self, relayed: bool) -> None:
        if relayed and not self._state.config.relay_moderation:
            raise UnsupportedError("that needs a connection of your own on IRC")

    def quotes(self, message: MatrixMessage) -> int:
        """What is answered is said in words where no tag tells it."""
        replies, answered, session = self._state.config.messages.replies, message.reply_to, self._current()
        if replies == "name" or answered is None or answered.timestamp is None:
            return 0
        if session is not None and answered.id is not None and session.tags and self._reply(answered.id):
            return 0
        recent = message.timestamp - answered.timestamp < _OLD
        return 0 if replies == "old" and recent else _QUOTED

    def capabilities(self, chat: ChatId) -> Capabilities:
        """What lines of text can carry, and more where the server knows message tags."""
        session = self._current()
        key = _NONE
        if session is not None:
            may = self._state.isupport.may_tag
            redacts = not session.caps.enabled.isdisjoint(REDACTION_CAPS)
            answers = session.tags and (may("reply") or may("draft/reply"))
            key = (answers, self._may_tag(session, "react"), session.tags and may("typing"), redacts)
        can = self._can.get(key)
        if can is None:  # asked for each message: made once
            can = self._can[key] = self._capabilities(*key)
        return can

    def _capabilities(self, answers: bool, reacts: bool, types: bool, redacts: bool) -> Capabilities:
        notice = Level.FALLBACK if self._state.config.redactions == "notice" else Level.DROPPED
        words = Level.FALLBACK if self._state.config.messages.reactions == "text" else Level.DROPPED
        return Capabilities(
            {
                "text": Level.FULL,
                "formatting": Level.PARTIAL,
                "emote": Level.FULL,
                "notice": Level.FULL,
                "reply": Level.FULL if answers else Level.PARTIAL,
                "thread": Level.FALLBACK,
                "edit": Level.FALLBACK,
                "redact": Level.FULL if redacts else notice,
                "react": Level.FULL if reacts else words,
                "location": Level.FALLBACK,
                "caption": Level.PARTIAL,
                "mention": Level.PARTIAL,
                "spoiler": Level.PARTIAL,
                "emoji": Level.FALLBACK,
                "typing": Level.FULL if types and self._state.config.typing else Level.DROPPED,
                "receipts": Level.DROPPED,
                "presence": Level.PARTIAL if self._state.config.people.away else Level.DROPPED,
                "name": Level.REJECTED,
                "topic": Level.FULL,
                "avatar": Level.REJECTED,
                "member": Level.FULL,
                "power": Level.FULL if self._state.config.ops_from_matrix else Level.REJECTED,
                "poll": Level.FALLBACK,
                "vote": Level.DROPPED,
                "expiry": Level.DROPPED,
                **_FILES,
            }
        )

    # Composing

    def _writing(self) -> Writer:
        if self._writer is None:
            self._writer = Writer(self._state, self._state.running.media_url)
        return self._writer

    def _target(self, chat: ChatId) -> str:
        """What a line to a chat is addressed to. Raises RejectedError for what would reach others."""
        if self._state.is_channel(chat):
            if (closed := self._state.consents.closed) and chat in closed:
                raise RejectedError(closed[chat])
            return chat
        nick = self._addressee(chat)
        if nick is None:
            raise RejectedError("they are not there under a nick that the bridge knows")
        try:
            return self._state.check_nick(nick)
        except BadName as error:
            raise RejectedError(str(error)) from None

    def _compose(
        self,
        session: Session,
        chat: ChatId,
        message: Spoken,
        reply: MessageRef | None,
        first: str = "",
        most: int | None = None,
    ) -> Said:
        """The lines of a message. Raises RejectedError when there are none or the names leave no room for them."""
        target = self._target(chat)
        try:
            said = self._writing().say(
                message.content,
                message.sender,
                reply,
                message.relayed,
                lambda command, action: session.identity.room(command, target, action),
                first=first,
                several=self._state.config.messages.long_text != "split" and session.several is not None,
                most=most,
            )
        except NoRoom as error:
            raise RejectedError(str(error)) from None
        if not said.texts:
            raise RejectedError("the message has nothing that can be said on IRC")
        return said

    async def _linked(self, message: MatrixMessage | MatrixEdit, said: Said) -> Said:
        """The lines, the last with a link to the whole text where that is configured and not all of it is said."""
        if not said.cut or self._state.config.messages.long_text != "link":
            return said
        words = self._writing().words(message.content)
        try:
            url = await self._state.running.text_url(message, words)
        except RejectedError:
            url = None  # the homeserver does not take it: the number of lines has to do
        if url is None:
            return said
        last = said.texts[-1]
        end = "\x01" if last.endswith("\x01") else ""
        return said._replace(texts=[*said.texts[:-1], f"{last.removesuffix(end) if end else last} <{url}>{end}"])

    def _reply_tags(self, session: Session, reply: MessageRef | None) -> Mapping[str, str]:
        return self._reply(reply.id) if reply is not None and reply.id is not None and session.tags else NO_TAGS

    def _reply(self, message: MessageId) -> Mapping[str, str]:
        """The tags that answer a message, as far as the server passes them on (CLIENTTAGDENY)."""
        may = self._state.isupport.may_tag
        return {f"+{name}": message for name in ("draft/reply", "reply") if may(name)}

    def _may_tag(self, session: Session, name: str) -> bool:
        """Whether a tag about another message, `draft/` of that name, is passed on with what it is about."""
        may = self._state.isupport.may_tag
        return session.tags and may(f"draft/{name}") and (may("reply") or may("draft/reply"))

    # Writing

    async def _say(self, session: Session, chat: ChatId, said: Said, tags: Mapping[str, str]) -> Sent:
        target = self._target(chat)
        limits = session.several if said.joined is not None else None
        if said.joined is None or limits is None:
            texts = [text for text in said.texts if text]
            return await self._transmit(session, chat, said.command, texts, [[target, text] for text in texts], tags)
        units: list[Unit] = []
        try:
            for group in groups(said.texts, said.joined, limits):
                texts, joined = said.texts[group.start : group.stop], said.joined[group.start : group.stop]
                if len(texts) > 1 and any(texts):
                    self._batches += 1
                    body = serialize_batch(format(self._batches, "x"), target, texts, joined)
                    whole = "".join(
                        text if place and joined[place] else f"\n{text}" for place, text in enumerate(texts)
                    )
                    units.append(Unit("BATCH", whole[1:], body, len(texts)))
                else:
                    units += [Unit(said.command, text, serialize(said.command, target, text)) for text in texts if text]
        except UnsafeLine as error:
            raise RejectedError(f"it cannot be sent on IRC: {error}") from None
        return await write(self._state, session, target, units, tags, observed=self._observed(chat))

    async def _transmit(
        self,
        session: Session,
        chat: ChatId,
        command: str,
        texts: Sequence[str],
        lines: Sequence[Sequence[str]],
        tags: Mapping[str, str],
    ) -> Sent:
        """Writes lines; nothing is written when any of them cannot be. `tags` go with the first."""
        try:
            units = [
                Unit(command, text, serialize(command, *params)) for text, params in zip(texts, lines, strict=True)
            ]
        except UnsafeLine as error:
            raise RejectedError(f"it cannot be sent on IRC: {error}") from None
        return await write(self._state, session, lines[0][0], units, tags, observed=self._observed(chat))
