"""What one user's connection reads: what is meant for them, and what the server says of them."""

from collections.abc import Callable

from bridges.irc.batches import Batch
from bridges.irc.codec.prefilter import boring, own_mark
from bridges.irc.invitations import Invitations
from bridges.irc.membership import Membership
from bridges.irc.missed import Missed
from bridges.irc.persona import Persona
from bridges.irc.private import PrivateMessages
from bridges.irc.session import Session
from bridges.irc.standing import Standing


class Ears:
    """Of one connection after the other. What others do in channels is not even parsed. `used` tells of a message."""

    __slots__ = ("_channels", "_invitations", "_mark", "_missed", "_persona", "_private", "_standing", "_used")

    def __init__(
        self,
        channels: Membership,
        persona: Persona,
        private: PrivateMessages,
        missed: Missed,
        standing: Standing,
        invitations: Invitations,
        used: Callable[[], None],
    ) -> None:
        self._channels = channels
        self._persona = persona
        self._private = private
        self._missed = missed
        self._standing = standing
        self._invitations = invitations
        self._used = used
        self._mark = b""

    def opened(self, session: Session) -> None:
        """A session is registered."""
        self._mark = own_mark(session.nick)

    def several(self, session: Session, batch: Batch) -> None:
        """A message of several lines."""
        if self._private.several(session, batch) is not None:
            self._missed.heard(batch.tags)

    def heard(self, session: Session, lines: list[bytes]) -> None:
        """Lines of the session."""
        mark = self._mark
        for raw in lines:
            if mark and boring(raw, mark):
                continue
            line = session.parse(raw)
            if line is None or session.common(line):
                continue
            command = line.command
            if self._persona.answer is not None:
                self._persona.answer.take(line)
            if command in ("PRIVMSG", "NOTICE"):
                self._persona.heard(line)
                if self._private.heard(session, line) is not None:
                    self._used()
                    self._missed.heard(line.tags)
            elif command in ("TAGMSG", "REDACT"):
                self._private.told(session, line)
            elif command[0].isdigit() and self._private.take(line):
                continue
            elif command == "JOIN":
                joined = self._channels.on_join(session, line)
                self._standing.shown(session)
                if joined is not None:
                    self._invitations.joined(joined)
                    self._persona.joined(session, joined)
            elif command == "INVITE":
                self._invitations.invited(session, line)
            elif command == "PART":
                self._channels.on_part(session, line)
            elif command == "RENAME":
                self._channels.on_rename(line)
            elif command == "KICK":
                self._channels.on_kick(session, line)
            elif command == "NICK":
                self._mark = own_mark(session.nick)
                self._standing.shown(session)
                if line.source is not None and line.param(0) == session.nick:
                    self._persona.renamed()
            elif self._persona.heard(line):
                continue
            elif command[0] in "45":
                self._channels.on_error(session, line)
                self._invitations.refused(session, line)
