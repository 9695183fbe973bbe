"""What the observer makes of each line: events for the core, and the state of channels and people."""

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from bridge_core.api.events import RemoteEvent, RemoteSender
from bridge_core.api.ids import ChatId
from bridges.irc.acquaintance import Acquaintance
from bridges.irc.attendance import Attendance
from bridges.irc.batches import Batch
from bridges.irc.channelmodes import Conditions
from bridges.irc.chatmoves import ChatMoves
from bridges.irc.codec.message import Line
from bridges.irc.codec.multiline import CAPABILITY
from bridges.irc.contexts import answer_in_channel
from bridges.irc.courtesy import Courtesy
from bridges.irc.floor import WORD, Exit, Floor
from bridges.irc.forwards import Forwards
from bridges.irc.joins import Places, Stage
from bridges.irc.knocks import Knocks
from bridges.irc.metadata import Metadata
from bridges.irc.optouts import PersonalWishes
from bridges.irc.roster import Roster
from bridges.irc.session import Session
from bridges.irc.signposts import Signposts
from bridges.irc.speech import Speech, several_lines
from bridges.irc.staff import StaffDesk
from bridges.irc.state import NetworkState, Own
from bridges.irc.to_matrix import message_id
from bridges.irc.topics import Topics

log = structlog.get_logger(__name__)
_MESSAGES = (b" PRIVMSG ", b" NOTICE ", b" TAGMSG ")


class Sink(Exit, Protocol):
    """Where the observer's findings go."""

    def entered(self, chat: ChatId) -> None:
        """We are in a channel."""

    def thrown_out(self, chat: ChatId, reason: str) -> None:
        """We were taken out of one channel."""

    def refused(self, chat: ChatId, reason: str) -> None:
        """A channel did not let us in."""

    async def commit(self, events: Sequence[RemoteEvent]) -> None:
        """Return when the core has stored these."""


class Hearing:
    """The lines of one session of the observer."""

    def __init__(self, state: NetworkState, session: Session, places: Places, sink: Sink) -> None:
        self._state = state
        self._session = session
        self._places = places
        self._sink = sink
        self._roster: Roster = state.roster
        self._now = state.running.clock.now_ms
        self._attendance = Attendance(state, session, sink)
        self._people = Acquaintance(state, session, self._attendance, sink)
        self._speech = Speech(state, self._sender)
        session.batches.on(CAPABILITY, self._several)
        self._courtesy = Courtesy(state.running.clock.monotonic, state.config.contact)
        self.floor = Floor(state, session, places, sink)
        self._forwards = Forwards(state, sink)
        self.floor.takes_over = self._forwards.agreed
        self._staff = StaffDesk(state, session, places, self.floor)
        self._wishes = PersonalWishes(state, session, sink.commit)
        self._knocks = Knocks(state, sink)
        signposts = Signposts(state, self.floor)
        topics = Topics(state, places, sink, signposts, self._sender)
        self._metadata = Metadata(state, session, self._attendance, signposts.metadata)
        self.conditions = Conditions(state, session, self._attendance, sink)
        self._handlers: dict[str, Callable[[Line], None]] = {
            "PRIVMSG": self._message,
            "NOTICE": self._message,
            "TAGMSG": self._tags,
            "RENAME": ChatMoves(state, places, self._sender, sink.offer).renamed,
            "005": lambda line: state.learned(state.isupport.updated(line.params)),
            "REDACT": self._redaction,
            "JOIN": self._join,
            "PART": self._part,
            "KICK": self._kick,
            "QUIT": self._quit,
            "NICK": self._nick,
            **topics.handlers(),
            "353": self._names,
            "366": self._named,
            "MODE": self._mode,
            "470": self._forwarded,
            **self._people.handlers(),
            **self._metadata.handlers(),
            **self._knocks.handlers(),
            **state.watch.handlers(),
            "INVITE": self.floor.invited,
            **self.conditions.handlers(),
            **signposts.handlers(self.conditions.all_modes),
        }
        session.batches.on("netsplit", self._netsplit)

    def opened(self) -> None:
        """The session is registered."""
        self._metadata.opened()

    def heard(self, lines: list[bytes]) -> None:
        """Takes lines of the session. Does not block."""
        own_of = self._state.own
        for raw in lines:
            start = 1 if raw[:1] == b":" else raw.find(b" :") + 2
            own = own_of(raw[start : raw.find(b"!", start)])
            if own is not None and self._echo(own, raw):
                continue
            line = self._session.parse(raw)
            if line is None or self._session.common(line):
                continue
            handler = self._handlers.get(line.command)
            if handler is not None:
                handler(line)
            elif line.command[0] in "45":
                self._error(line)

    def _echo(self, own: Own, raw: bytes) -> bool:
        """Takes what our own connections said: never bridged, proof of its delivery where no better one comes."""
        if own is self._session.own or not any(command in raw for command in _MESSAGES):
            return False
        if raw[:1] == b"@" and b"batch=" in raw[: raw.find(b" ")]:
            gathered = self._session.parse(raw)
            if gathered is not None and self._session.batches.holds(gathered):
                return False  # its batch tells whose it is
        if own.away is not None and not self._back(own, self._session.parse(raw)):
            return False
        line = self._session.parse(raw) if own.by_observer and len(own.flight) else None
        if line is not None and line.command in ("PRIVMSG", "NOTICE"):
            own.flight.seen(
                line.command,
                self._state.isupport.fold(line.param(0)),
                line.param(1),
                message_id(line.tags.get("msgid")),
            )
        return line is None or line.command in ("PRIVMSG", "NOTICE", "TAGMSG")

    # Messages

    def _message(self, line: Line) -> None:
        source = line.source
        if source is None or (not source.user and "." in source.nick):
            log.debug("irc_server_notice", network=self._state.network, text=line.param(-1))
            if source is not None:
                self._knocks.noticed(line)
            return
        if source.nick == self._session.nick:
            return
        status, name = self.conditions.target(line.param(0))
        chat = self._state.chat_of(name)
        if chat is None:
            self._private(line, name)
            return
        if "draft/relaymsg" in line.tags and line.tags["draft/relaymsg"] == self._session.nick:
            return  # said by ourselves, as somebody of Matrix
        if (text := line.param(1))[: len(WORD)] == WORD:
            self.floor.said(chat, line, text)
        event = self._speech.message(line, chat)
        if event is not None:
            status = status or self.conditions.muffled(chat, line)
            self._sink.offer(self.conditions.for_staff(event, status) if status else event)

    def _several(self, batch: Batch) -> None:
        """A message of several lines."""
        source = batch.source
        status, name = self.conditions.target(batch.param(0))
        chat = self._state.chat_of(name)
        if source is None or chat is None or source.nick == self._session.nick:
            return
        own = self._own(source.nick)
        if own is not None and (own.away is None or self._back(own, Line(batch.tags, source, batch.type, ()))):
            spoken = several_lines(batch) if own.by_observer else None
            if spoken is not None:
                message = message_id(batch.tags.get("msgid"))
                own.flight.seen("BATCH", self._state.isupport.fold(batch.param(0)), spoken[1], message)
            return
        event = self._speech.several(batch, chat)
        if event is not None:
            status = status or self.conditions.muffled(chat, Line(batch.tags, source, batch.type, batch.params))
            self._sink.offer(self.conditions.for_staff(event, status) if status else event)

    def _private(self, line: Line, target: str) -> None:
        """Somebody writes to the relay: a CTCP request, or one who takes it for a person."""
        source = line.source
        assert source is not None
        event = answer_in_channel(self._state, self._speech, line)
        if event is not None:
            self._sink.offer(event)
        if line.command != "PRIVMSG" or self._state.isupport.fold(target) != self._state.isupport.fold(
            self._session.nick
        ):
            return
        text = line.param(1)
        if self._wishes.said(line, text) or self._staff.said(line, text) or self.floor.private(line, text):
            return
        if text[:1] == "\x01":
            answer = self._courtesy.ctcp(text)
        elif self._courtesy.first_time(self._state.isupport.fold(source.nick)):
            answer = "I am a bridge to Matrix and read no private messages. Write to the people in the channel."
        else:
            answer = None
        if answer is not None:
            self._session.tell("NOTICE", source.nick, answer)

    def _tags(self, line: Line) -> None:
        """A reaction (IRCv3 client tags react and reply), or typing."""
        chat, source = self._state.chat_of(line.param(0)), line.source
        if chat is not None and source is not None and source.nick != self._session.nick:
            event = self._speech.tags(line, chat)
            if event is not None and not self.conditions.muffled(chat, line):  # there is none for operators alone
                self._sink.offer(event)

    def _redaction(self, line: Line) -> None:
        chat, source = self._state.chat_of(line.param(0)), line.source
        if chat is not None and source is not None and source.nick != self._session.nick:
            event = self._speech.redaction(line, chat)
            if event is not None:
                self._sink.offer(event)

    def _sender(self, line: Line) -> RemoteSender:
        assert line.source is not None
        return self._people.sender(line, line.source.nick)

    # Channels and people

    def _join(self, line: Line) -> None:
        source, name = line.source, line.param(0)
        if source is None:
            return
        chat = self._state.chat_of(name)
        if source.nick == self._session.nick:
            self._session.identity.prefixed(line)
            if chat is None or self._places.joined(chat, name) is None:
                self._session.tell("PART", name)
                return
            self._sink.entered(chat)
        if chat is not None:
            self._replaced(line, source.nick)
            mask = f"{source.user}@{source.host}" if source.host else ""
            self._attendance.came(chat, source.nick, self._people.joined(line), mask)
            self._roster.seen(source.nick, source.user, source.host, real=line.param(2) or None)

    def _part(self, line: Line) -> None:
        source, chat = line.source, self._state.chat_of(line.param(0))
        if source is None or chat is None:
            return
        if source.nick == self._session.nick:
            self._out(chat, line.param(1) or "the bridge was made to leave")
        else:
            self._attendance.went(chat, source.nick, line.param(1))

    def _kick(self, line: Line) -> None:
        chat, by = self._state.chat_of(line.param(0)), line.source.nick if line.source is not None else None
        if chat is None:
            return
        if line.param(1) == self._session.nick:
            if self.floor.kicked(chat, line):
                return
            self._out(chat, f"the bridge was kicked by {by or 'the server'}: {line.param(2)}")
        else:
            self._attendance.kicked(chat, line.param(1), by, line.param(2))

    def _out(self, chat: ChatId, reason: str) -> None:
        self.left(chat)
        self._sink.thrown_out(chat, reason)

    def left(self, chat: ChatId) -> None:
        """We are not in a channel any more: nothing is known of it."""
        self._attendance.closed(chat)
        self.conditions.closed(chat)

    def _netsplit(self, batch: Batch) -> None:
        """Servers parted (IRCv3 netsplit): all who were behind one of them quit."""
        for line in batch.lines():
            if line.command == "QUIT":
                self._quit(line, (batch.param(0), batch.param(1)))

    def _quit(self, line: Line, servers: tuple[str, str] | None = None) -> None:
        source = line.source
        if source is None:
            return
        self._attendance.quit(source.nick, line.param(0), servers)
        own = self._own(source.nick)
        if own is None:
            return
        if own.retired:
            self._state.forget(own)
        elif own.nick != source.nick:
            self._state.vacated(source.nick)
        elif own.settled and own is not self._session.own:
            # Either it does not know yet that it is gone, or the network split and it comes back.
            own.away = f"{source.user}@{source.host}"

    def _own(self, nick: str) -> Own | None:
        return self._state.own(nick.encode("utf-8", "surrogateescape"))

    def _replaced(self, line: Line, nick: str) -> None:
        """Somebody who shows up with a nick of ours may be another."""
        own = self._own(nick)
        if own is not None and own.retired:
            self._state.forget(own)
        elif own is not None and own.away is not None:
            self._back(own, line)

    def _back(self, own: Own, line: Line | None) -> bool:
        """Whether the sender of a line is our connection, whose QUIT was seen before; else its nick is free."""
        source = line.source if line is not None else None
        if source is None:
            return True
        if f"{source.user}@{source.host}" == own.away:
            own.away = None
            return True
        self._state.vacated(source.nick)
        return False

    def _nick(self, line: Line) -> None:
        source, new = line.source, line.param(0)
        if source is None or not new:
            return
        own = self._own(source.nick)
        if own is not None and own.away is not None and not self._back(own, line):
            own = None
        if own is not None and not own.retired:
            # Lines under the new nick may come here before that connection itself hears of it.
            self._roster.renamed(source.nick, new)
            self._state.seen_renamed(own, source.nick, new)
            if own is self._session.own:
                self._state.relay_nick = new
            return
        taken = self._own(new)
        if taken is not None and taken.settled:
            # No server gives a nick that one of our connections still has.
            self._state.vacated(new)
        if source.nick != self._session.nick:
            self._people.renamed(line, source.nick, new)

    def _names(self, line: Line) -> None:
        chat = self._state.chat_of(line.param(2))
        if chat is not None:
            self._attendance.listed(chat, line.param(3).split(" "))

    def _named(self, line: Line) -> None:
        chat = self._state.chat_of(line.param(1))
        if chat is not None:
            self._attendance.listing_ends(chat)
            self._people.named(chat)
            self.floor.listed(chat)

    def _mode(self, line: Line) -> None:
        chat = self._state.chat_of(line.param(0))
        if chat is not None:
            self._attendance.modes(chat, line)
            self.conditions.changed(chat, line)

    def _forwarded(self, line: Line) -> None:
        """The server sent us to another channel (numeric 470): nobody asked to be bridged there."""
        chat = self._state.chat_of(line.param(1))
        if chat is not None:
            self._refused(chat, f"the channel forwards to {line.param(2)}")
            self._forwards.told(chat, line)

    def _error(self, line: Line) -> None:
        """An error that names a channel we asked for, or hold to be in."""
        chat = self._state.chat_of(line.param(1))
        place = self._places.get(chat) if chat is not None else None
        if chat is None or place is None:
            return
        if line.command == "442":  # of what was said while we were in: no answer to a JOIN that is on its way
            if place.stage is Stage.JOINED:
                self._sink.thrown_out(chat, line.param(-1))
        elif place.stage is not Stage.JOINED:
            self._refused(chat, line.param(-1))

    def _refused(self, chat: ChatId, reason: str) -> None:
        self._sink.refused(chat, reason)
        self.floor.refused(chat, reason)
