"""What the server answers to our lines: echoes, acknowledgements and errors, by label or by target."""

from collections.abc import Callable
from typing import Final, NamedTuple

from bridge_core.api.ids import MessageId
from bridges.irc.codec.message import Line
from bridges.irc.codec.multiline import CAPABILITY
from bridges.irc.flight import Flight
from bridges.irc.state import NetworkState

_BATCHES_AT_MOST: Final = 64
_ECHOES: Final = frozenset(("PRIVMSG", "NOTICE", "TAGMSG", "REDACT"))
_SAYING: Final = frozenset(("PRIVMSG", "NOTICE", "TAGMSG", "BATCH", "RELAYMSG", "REDACT"))
_DONE: Final = frozenset(("KICK", "MODE", "TOPIC", "341"))
"""What tells everybody, the owner of the connection included, that something was done (341: INVITE)."""
# Errors about a target that follow a message to it (RFC 2812 section 5.2, modern.ircdocs.horse, InspIRCd, UnrealIRCd).
_ERRORS: Final = frozenset(("401", "402", "403", "404", "407", "408", "413", "414", "415", "442", "477")) | frozenset(
    ("482", "486", "489", "492", "494", "515", "531", "716", "717", "937", "974")
)


class _Answer(NamedTuple):
    """A batch that answers a label; `echo`: it is our own message of several lines, which has that id.

    `words` are the server's own in it: they are all that is left of a message that was swallowed.
    """

    label: str
    echo: bool
    message: MessageId | None = None
    words: str = ""


_NONE: Final = _Answer("", echo=False)


QUESTION: Final = "q"
"""Label of questions whose answers are read by whoever needs them; an error in answer to one is about no message."""


class Answers:
    """Reads the answers of one connection into its flight."""

    __slots__ = ("_batches", "_echoes", "_flight", "_state")

    def __init__(self, state: NetworkState, flight: Flight, echoes: Callable[[], bool]) -> None:
        """`echoes` tells whether each of our lines comes back under its label."""
        self._echoes = echoes
        self._state = state
        self._flight = flight
        self._batches: dict[str, _Answer] = {}

    def labelled(self, line: Line) -> bool:
        """Takes an answer to a labelled line of ours (IRCv3 labeled-response); whether it was one."""
        tags = line.tags
        batch = self._batches.get(tags.get("batch", ""), _NONE)
        label = tags.get("label") or batch.label
        if not label:
            return False
        command = line.command
        if command in _ECHOES:
            if batch.echo:
                return True  # the whole is answered at its end
            if command == "NOTICE" and (line.source is None or not line.source.user):
                self._noticed(line, label, batch)
                return True
            message = tags.get("msgid")
            self._flight.answered(label, message=MessageId(message) if message else None)
            return True
        if command == "FAIL" or (len(command) == 3 and command[0] in "45"):
            return self._flight.refused(label, line.param(-1))
        if command in _DONE:
            self._flight.answered(label)
        return False

    def acknowledged(self, line: Line) -> None:
        """ACK: the server did it and has nothing to say."""
        self._flight.answered(line.tags.get("label", ""), echoed=False)

    def batch(self, line: Line) -> bool:
        """Lines of a labelled batch belong to its label; at its end the label is answered.

        Whether it was the echo of a message of several lines (draft/multiline): its lines are nobody else's business.
        """
        name, tags = line.param(0), line.tags
        if name.startswith("+"):
            echo = line.param(1) == CAPABILITY
            label = tags.get("label", "")
            if echo and not label:
                label = self._batches.get(tags.get("batch", ""), _NONE).label
            if label and len(self._batches) < _BATCHES_AT_MOST:
                message = tags.get("msgid")
                self._batches[name[1:]] = _Answer(label, echo, MessageId(message) if echo and message else None)
                return echo
        elif name.startswith("-"):
            batch = self._batches.pop(name[1:], _NONE)
            if batch.words and not batch.echo and self._echoes() and self._flight.refused(batch.label, batch.words):
                return False
            if batch.label:
                self._flight.answered(batch.label, message=batch.message, echoed=batch.echo)
            return batch.echo
        return False

    def _noticed(self, line: Line, label: str, batch: _Answer) -> None:
        """A NOTICE of the server is no echo: where one is promised and does not come, the message was swallowed."""
        if batch.label:
            self._batches[line.tags["batch"]] = batch._replace(words=line.param(-1))
        elif self._echoes():
            self._flight.refused(label, line.param(-1))
        else:
            self._flight.answered(label, echoed=False)

    def failed(self, line: Line) -> None:
        """A standard reply without a label names its target among its parameters (IRCv3 standard-replies)."""
        for context in line.params[2:-1]:
            if self._flight.refused_target(self._state.isupport.fold(context), line.param(-1)):
                return
        if line.param(0) in _SAYING:  # some name a limit, a nick or nothing, instead of the target
            self._flight.refused_command(line.param(0), line.param(-1))

    def error(self, line: Line) -> bool:
        """An error numeric without a label; whether it was about a line of ours."""
        if line.command not in _ERRORS:
            return False
        label = line.tags.get("label") or self._batches.get(line.tags.get("batch", ""), _NONE).label
        if label == QUESTION:
            return True
        return self._flight.refused_target(self._state.isupport.fold(line.param(1)), line.param(-1))
