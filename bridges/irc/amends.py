"""What is done to messages afterwards: edits, redactions, reactions, with their fallbacks."""

from abc import ABC
from dataclasses import dataclass, replace
from typing import Final

from bridge_core.api.content import Content, Kind, Plain
from bridge_core.api.errors import UnsupportedError
from bridge_core.api.matrix import MatrixEdit, MatrixReaction, MatrixRedaction, MatrixSender
from bridge_core.api.network import Attempt, Sent
from bridges.irc.edits import short_edit
from bridges.irc.session import Session
from bridges.irc.to_network import Said
from bridges.irc.voice import NO_TAGS, REDACTION_CAPS, Voice

_KEY_AT_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class _Words:
    """A reaction as a line of text."""

    content: Content
    sender: MatrixSender
    relayed: bool


class Amends(Voice, ABC):
    """`edit`, `redact` and `react` of a client."""

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        """Says a small change as `s/before/after/`, any other as the new text marked with a star: lines stay as they
        are on IRC."""
        session = await self._line(edit.chat)
        recent, writer, target = self._state.recent, self._writing(), edit.target.event_id
        before, after = recent.get(target), writer.words(edit.content)
        short = None
        if before is not None and self._state.config.messages.edits == "short" and not edit.content.attachments:
            short = short_edit(before, after)
        if short is not None:
            told = replace(edit, content=Content((Plain(short),), Kind.TEXT))
            said = self._compose(session, edit.chat, told, None)
        else:
            said = await self._linked(edit, self._compose(session, edit.chat, edit, None, "* ", edit.max_lines))
        sent = await self._say(session, edit.chat, said, NO_TAGS)
        recent.put(target, after)  # the next edit of it is told against this
        return sent

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """Takes a message back where the network can (IRCv3 message-redaction); else says so, or nothing."""
        session = await self._line(redaction.chat)
        if redaction.reaction is not None:
            return await self._unreact(session, redaction)
        self._state.recent.drop(redaction.target.event_id)
        ids = [message for message in (redaction.target.id, *redaction.further) if message is not None]
        if ids and not session.caps.enabled.isdisjoint(REDACTION_CAPS):
            reason = " ".join((redaction.reason or "").split())[:200]
            target = self._target(redaction.chat)
            lines = [[target, message, *([reason] if reason else [])] for message in ids]
            return await self._transmit(session, redaction.chat, "REDACT", ids, lines, NO_TAGS)
        if self._state.config.redactions == "ignore":
            raise UnsupportedError("messages cannot be taken back on IRC")
        who = f"{self._writing().name(redaction.sender)} " if redaction.relayed else ""
        said = Said("NOTICE", [f"{who}took back an earlier message"])
        return await self._say(session, redaction.chat, said, NO_TAGS)

    async def _unreact(self, session: Session, redaction: MatrixRedaction) -> Sent:
        """Takes a reaction off, as IRCv3's client tag `unreact` has it."""
        target = redaction.reacted_to.id if redaction.reacted_to is not None else None
        if target is None or redaction.reaction is None or redaction.relayed or not self._may_tag(session, "unreact"):
            raise UnsupportedError("reactions cannot be taken off on this IRC network")
        tags = {"+draft/unreact": redaction.reaction, **self._reply(target)}
        return await self._transmit(session, redaction.chat, "TAGMSG", [""], [[self._target(redaction.chat)]], tags)

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        """Puts a reaction on a message as a tag; where there are none, says it as a line if that is configured."""
        session = await self._line(reaction.chat)
        if reaction.target.id is not None and not reaction.relayed and self._may_tag(session, "react"):
            tags = {"+draft/react": reaction.key, **self._reply(reaction.target.id)}
            params = [self._target(reaction.chat)]
            return await self._transmit(session, reaction.chat, "TAGMSG", [""], [params], tags)
        if self._state.config.messages.reactions == "none":
            if reaction.relayed:
                raise UnsupportedError("reactions need a connection of your own on IRC")
            raise UnsupportedError("there are no reactions on this IRC network")
        key = f":{reaction.picture.alt.strip(':') or 'emoji'}:" if reaction.picture is not None else reaction.key
        content = Content((Plain(" ".join(key.split())[:_KEY_AT_MOST]),))
        words = _Words(content, reaction.sender, reaction.relayed)
        said = self._compose(session, reaction.chat, words, reaction.target)
        return await self._say(session, reaction.chat, said, NO_TAGS)
