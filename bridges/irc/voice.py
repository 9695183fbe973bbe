"""How a client of this network speaks: shared by the relay and the puppets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

from bridge_core.api.content import MediaKind
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.ids import ChatId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
    MessageRef,
)
from bridge_core.api.network import Attempt, Capabilities, Level, Sent
from bridges.irc import people
from bridges.irc.codec.multiline import groups, serialize_batch
from bridges.irc.codec.serializer import UnsafeLine, serialize
from bridges.irc.moderation import Moderation
from bridges.irc.nicks import BadName
from bridges.irc.session import Session
from bridges.irc.splitting import NoRoom
from bridges.irc.state import NetworkState
from bridges.irc.to_network import Said, Writer
from bridges.irc.writing import Unit, write

_NOTHING: Final[Mapping[str, str]] = {}
_FILES: Final = {kind.value: Level.FALLBACK for kind in MediaKind}
_REDACTION_CAPS: Final = ("message-redaction", "draft/message-redaction")


class Voice(ABC):
    """`send`, `edit`, `redact` and `react` of a client, over the session that `_line` names."""

    def __init__(self, state: NetworkState) -> None:
        self._state = state
        self._writer: Writer | None = None
        self._batches = 0
        self._can: dict[tuple[bool, bool], Capabilities] = {}

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
        said = self._compose(session, message.chat, message, message.reply_to)
        return await self._say(session, message.chat, said, self._reply_tags(session, message.reply_to))

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        """Says the new text, marked with a star: IRC lines cannot be changed."""
        session = await self._line(edit.chat)
        said = self._compose(session, edit.chat, edit, None, first="* ")
        return await self._say(session, edit.chat, said, _NOTHING)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """Takes a message back where the network can (IRCv3 message-redaction); else says so, or nothing."""
        session = await self._line(redaction.chat)
        if redaction.reaction is not None:
            return await self._unreact(session, redaction)
        if redaction.target.id is not None and any(name in session.caps.enabled for name in _REDACTION_CAPS):
            reason = " ".join((redaction.reason or "").split())[:200]
            params = [self._target(redaction.chat), redaction.target.id, *([reason] if reason else [])]
            return await self._transmit(session, redaction.chat, "REDACT", [redaction.target.id], [params], _NOTHING)
        if self._state.config.redactions == "ignore":
            raise UnsupportedError("messages cannot be taken back on IRC")
        who = f"{self._writing().name(redaction.sender)} " if redaction.relayed else ""
        said = Said("NOTICE", [f"{who}took back an earlier message"])
        return await self._say(session, redaction.chat, said, _NOTHING)

    async def _unreact(self, session: Session, redaction: MatrixRedaction) -> Sent:
        """Takes a reaction off, as IRCv3's client tag `unreact` has it."""
        target = redaction.reacted_to.id if redaction.reacted_to is not None else None
        if target is None or redaction.reaction is None or redaction.relayed or not session.tags:
            raise UnsupportedError("reactions cannot be taken off on this IRC network")
        tags = {"+draft/unreact": redaction.reaction, "+draft/reply": target, "+reply": target}
        return await self._transmit(session, redaction.chat, "TAGMSG", [""], [[self._target(redaction.chat)]], tags)

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        """Puts a reaction on a message as a tag; networks without tags have none."""
        session = await self._line(reaction.chat)
        if reaction.target.id is None or not session.tags:
            raise UnsupportedError("there are no reactions on this IRC network")
        if reaction.relayed:
            raise UnsupportedError("reactions need a connection of your own on IRC")
        tags = {
            "+draft/react": reaction.key,
            "+draft/reply": reaction.target.id,
            "+reply": reaction.target.id,
        }
        params = [self._target(reaction.chat)]
        return await self._transmit(session, reaction.chat, "TAGMSG", [""], [params], tags)

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        """Kicks, bans, invites, gives modes. The relay does it for others only where that is configured."""
        self._may_steer(act.relayed)
        session = await self._line(act.chat)
        command = Moderation(self._state).command(act)
        if command is None:
            return Sent()
        texts = [line[-1] for line in command.lines]
        sent = await self._transmit(session, act.chat, command.name, texts, command.lines, _NOTHING)
        if command.then:
            session.tell(*command.then)
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
        return await self._transmit(session, info.chat, "TOPIC", [topic], [[self._target(info.chat), topic]], _NOTHING)

    def _may_steer(self, relayed: bool) -> None:
        if relayed and not self._state.config.relay_moderation:
            raise UnsupportedError("that needs a connection of your own on IRC")

    def capabilities(self, chat: ChatId) -> Capabilities:
        """What lines of text can carry, and more where the server knows message tags."""
        session = self._current()
        tags = session is not None and session.tags
        redacts = session is not None and not session.caps.enabled.isdisjoint(_REDACTION_CAPS)
        can = self._can.get((tags, redacts))
        if can is None:  # asked for each message: made once
            can = self._can[tags, redacts] = self._capabilities(tags=tags, redacts=redacts)
        return can

    def _capabilities(self, *, tags: bool, redacts: bool) -> Capabilities:
        notice = Level.FALLBACK if self._state.config.redactions == "notice" else Level.DROPPED
        return Capabilities(
            {
                "text": Level.FULL,
                "formatting": Level.PARTIAL,
                "emote": Level.FULL,
                "notice": Level.FULL,
                "reply": Level.FULL if tags else Level.PARTIAL,
                "thread": Level.FALLBACK,
                "edit": Level.FALLBACK,
                "redact": Level.FULL if redacts else notice,
                "react": Level.FULL if tags else Level.DROPPED,
                "location": Level.FALLBACK,
                "caption": Level.PARTIAL,
                "mention": Level.PARTIAL,
                "spoiler": Level.PARTIAL,
                "emoji": Level.FALLBACK,
                "typing": Level.FULL if tags and self._state.config.typing else Level.DROPPED,
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
        message: MatrixMessage | MatrixEdit,
        reply: MessageRef | None,
        first: str = "",
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
            )
        except NoRoom as error:
            raise RejectedError(str(error)) from None
        if not said.texts:
            raise RejectedError("the message has nothing that can be said on IRC")
        return said

    def _reply_tags(self, session: Session, reply: MessageRef | None) -> Mapping[str, str]:
        if reply is None or reply.id is None or not session.tags:
            return _NOTHING
        return {"+draft/reply": reply.id, "+reply": reply.id}

    # Writing

    async def _say(self, session: Session, chat: ChatId, said: Said, tags: Mapping[str, str]) -> Sent:
        target = self._target(chat)
        limits = session.several if said.joined is not None else None
        if said.joined is None or limits is None:
            return await self._transmit(
                session, chat, said.command, said.texts, [[target, text] for text in said.texts], tags
            )
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
