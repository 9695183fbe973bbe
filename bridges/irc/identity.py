"""How the server calls one of our connections: nick, user and host, which take room in every line that it passes on."""

from typing import Final

from bridges.irc.codec.message import Line, parse_source
from bridges.irc.splitting import Envelope

_ROOMS_AT_MOST: Final = 1024


class Identity:
    """Our own prefix, learnt from what the server says of us."""

    __slots__ = ("_rooms", "envelope")

    def __init__(self) -> None:
        self.envelope = Envelope("*")
        self._rooms: dict[tuple[str, str, bool], int] = {}

    @property
    def nick(self) -> str:
        """Our nick, in the server's spelling."""
        return self.envelope.nick

    def room(self, command: str, target: str, action: bool) -> int:
        """Bytes of text that fit into one line to a target. Raises NoRoom."""
        key = (command, target, action)
        room = self._rooms.get(key)
        if room is None:
            if len(self._rooms) >= _ROOMS_AT_MOST:
                self._rooms.clear()
            room = self._rooms[key] = self.envelope.room(command, target, action=action)
        return room

    def welcomed(self, nick: str, prefix: str) -> None:
        """We are registered; `prefix` is what the welcome called us, or empty."""
        source = parse_source(prefix)
        self._moved(Envelope(nick, source.user or None, source.host or None))

    def prefixed(self, line: Line) -> None:
        """A line of our own came back with our prefix."""
        source = line.source
        if source is not None and source.host:
            self._moved(Envelope(self.nick, source.user, source.host))

    def renamed(self, line: Line) -> bool:
        """NICK; whether it was ours that changed."""
        if line.source is None or line.source.nick != self.nick or not line.param(0):
            return False
        self._moved(Envelope(line.param(0), self.envelope.user, self.envelope.host))
        return True

    def changed_host(self, line: Line) -> None:
        """CHGHOST (IRCv3 chghost)."""
        if line.source is not None and line.source.nick == self.nick and line.param(1):
            self._moved(Envelope(self.nick, line.param(0), line.param(1)))

    def visible_host(self, line: Line) -> None:
        """Our visible host, with or without the user name (numeric 396)."""
        user, at, host = line.param(1).rpartition("@")
        self._moved(Envelope(self.nick, user if at else self.envelope.user, host or None))

    def _moved(self, envelope: Envelope) -> None:
        if envelope != self.envelope:
            self.envelope = envelope
            self._rooms.clear()
