"""What others say, as events for the core: lines, messages of several lines, reactions, typing, redactions."""

from collections.abc import Callable
from typing import Final

from bridge_core.api.events import RemoteMessage, RemoteReaction, RemoteRedaction, RemoteSender, RemoteTyping
from bridge_core.api.ids import ChatId, LoginId, MessageId
from bridges.irc.batches import Batch
from bridges.irc.codec.message import Line
from bridges.irc.codec.multiline import CONCAT
from bridges.irc.state import NetworkState
from bridges.irc.to_matrix import message_content, message_id, timestamp

_SPOKEN: Final = frozenset(("PRIVMSG", "NOTICE"))
_TYPING: Final = {"active": 6.0, "paused": 30.0, "done": 0.0}
"""Seconds for which a state of typing holds (IRCv3 typing)."""


class Speech:
    """Makes the events. `sender` says who said a line; `receiver` owns the chat, where it is a private one."""

    __slots__ = ("_now", "_receiver", "_sender", "_state")

    def __init__(
        self, state: NetworkState, sender: Callable[[Line], RemoteSender], receiver: LoginId | None = None
    ) -> None:
        self._state = state
        self._sender = sender
        self._receiver = receiver
        self._now = state.running.clock.now_ms

    def message(self, line: Line, chat: ChatId, *, context: str = "") -> RemoteMessage | None:
        """A PRIVMSG or NOTICE; None for one that says nothing. `context` stands in front of its text."""
        source = line.source
        text = line.param(1)
        content = message_content(
            self._state, chat, line.command, context + text if context and text[:1] != "\x01" else text
        )
        if content is None or source is None:
            return None
        tags, now = line.tags, self._now()
        if not tags:
            return RemoteMessage(chat, self._sender(line), content, None, now, receiver=self._receiver)
        reply = tags.get("+reply") or tags.get("+draft/reply")
        return RemoteMessage(
            chat,
            self._sender(line),
            content,
            message_id(tags.get("msgid")),
            timestamp(tags.get("time"), now),
            message_id(reply),
            receiver=self._receiver,
        )

    def several(self, batch: Batch, chat: ChatId) -> RemoteMessage | None:
        """A message of several lines (IRCv3 multiline): id, time and tags are those of its opening."""
        spoken = several_lines(batch)
        if spoken is None:
            return None
        command, text = spoken
        tags = dict(batch.tags)
        if batch.part:
            tags.pop("msgid", None)  # further parts of one that is too large are messages of their own
        return self.message(Line(tags, batch.source, command, (batch.param(0), text)), chat)

    def tags(self, line: Line, chat: ChatId) -> RemoteReaction | RemoteTyping | None:
        """A reaction (IRCv3 client tags react and reply), or typing where that is configured."""
        tags, source = line.tags, line.source
        if source is None:
            return None
        typing = _TYPING.get(tags.get("+typing", ""))
        if typing is not None:
            if not self._state.config.typing:
                return None
            return RemoteTyping(chat, self._sender(line), typing, self._receiver)
        target = tags.get("+reply") or tags.get("+draft/reply")
        added, removed = tags.get("+draft/react"), tags.get("+draft/unreact")
        key = added or removed
        if not target or not key or (added and removed):
            return None
        return RemoteReaction(
            chat,
            self._sender(line),
            MessageId(target),
            key,
            not added,
            message_id(tags.get("msgid")),
            timestamp(tags.get("time"), self._now()),
            self._receiver,
        )

    def redaction(self, line: Line, chat: ChatId) -> RemoteRedaction | None:
        """REDACT (IRCv3 message-redaction)."""
        source, target = line.source, line.param(1)
        if source is None or not target:
            return None
        tags = line.tags
        return RemoteRedaction(
            chat,
            self._sender(line),
            MessageId(target),
            line.param(2) or None,
            message_id(tags.get("msgid")),
            timestamp(tags["time"], self._now()) if "time" in tags else None,
            self._receiver,
        )


def several_lines(batch: Batch) -> tuple[str, str] | None:
    """Command and text of a draft/multiline batch; None when it holds nothing.

    Lines are joined by line ends, except those that go on with the one before (the tag draft/multiline-concat).
    """
    command, text = "", ""
    for line in batch.lines():
        if line.command not in _SPOKEN:
            continue
        if command and CONCAT not in line.tags:
            text += "\n"
        command = command or line.command
        text += line.param(1)
    return (command, text) if command else None
