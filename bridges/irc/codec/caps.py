"""Capability negotiation, without input or output: CAP version 302 (IRCv3 capability-negotiation)."""

from collections.abc import Iterable, Mapping, Sequence

from bridges.irc.codec.message import Line
from bridges.irc.codec.serializer import serialize

_REQUEST_BYTES = 400  # of names in one REQ: the answer repeats them behind a longer prefix
_OFFERS_AT_MOST = 512


class CapNegotiation:
    """What the server offers, what we asked for, what is enabled. One per connection.

    `wanted` is a sequence of names, or of tuples of alternative names of which the first offered one is requested.
    `needs` names what must be offered too: `{"echo-message": "labeled-response"}`. `sts` is read, never requested.

    Send `start()`, give every CAP line to `receive`, and send what it returns. Once `settled`, authenticate if need
    be, then send `end()`. Afterwards lines of cap-notify (NEW, DEL) and late answers are taken the same way.
    """

    __slots__ = ("_listed", "_needs", "_pending", "_wanted", "available", "enabled", "refused")

    def __init__(self, wanted: Sequence[str | tuple[str, ...]], needs: Mapping[str, str] | None = None) -> None:
        self._wanted = tuple((group,) if isinstance(group, str) else group for group in wanted)
        self._needs = dict(needs or {})
        self._listed = False
        self._pending: set[str] = set()
        self.available: dict[str, str] = {}
        """Offered capabilities with their values."""
        self.enabled: set[str] = set()
        self.refused: set[str] = set()

    @property
    def settled(self) -> bool:
        """Whether the list is complete and every request is answered."""
        return self._listed and not self._pending

    def start(self) -> list[bytes]:
        """The first line, to be sent before NICK and USER."""
        return [serialize("CAP", "LS", "302")]

    def end(self) -> bytes:
        """The line that lets registration go on."""
        return serialize("CAP", "END")

    def unsupported(self) -> None:
        """The server knows no CAP (421 or 451 for it, or 001 without an answer): nothing is enabled."""
        self._listed = True
        self._pending.clear()

    def receive(self, line: Line) -> list[bytes]:
        """Takes a CAP line of the server and returns lines to send. Never raises; nonsense is passed over."""
        if line.command != "CAP":
            return []
        names = line.params[-1].split() if len(line.params) > 2 else []
        match line.param(1).upper():
            case "LS":
                self._offer(names)
                if len(line.params) > 3 and line.params[2] == "*":
                    return []
                self._listed = True
                return self._request()
            case "NEW":
                self._offer(names)
                # What was refused once may be granted now that it is offered anew.
                self.refused.difference_update(name.partition("=")[0] for name in names)
                return self._request()
            case "DEL":
                for name in names:
                    self.available.pop(name, None)
                    self.enabled.discard(name)
                    self._pending.discard(name)
                return []
            case "ACK":
                for name in names:
                    self._acknowledge(name.lstrip("~="))
                return []
            case "NAK":
                return self._refuse([name for name in names if name in self._pending])
            case _:
                return []

    def _offer(self, names: Iterable[str]) -> None:
        """Notes what the server offers."""
        for name in names:
            key, _, value = name.partition("=")
            if key in self.available or len(self.available) < _OFFERS_AT_MOST:
                self.available[key] = value

    def _acknowledge(self, name: str) -> None:
        """Notes one granted, or with a hyphen withdrawn, capability. What nobody asked for stays off."""
        if name.startswith("-"):
            self.enabled.discard(name[1:])
            self._pending.discard(name[1:])
        elif name in self._pending:
            self._pending.discard(name)
            self.enabled.add(name)

    def _refuse(self, names: list[str]) -> list[bytes]:
        """A refused list is asked for one by one; a refused single one is given up."""
        if len(names) == 1:
            self._pending.discard(names[0])
            self.refused.add(names[0])
            return []
        return [line for name in names for line in _requests([name])]

    def _request(self) -> list[bytes]:
        """Lines that ask for what is wanted, offered, and neither enabled nor asked for nor refused."""
        names: list[str] = []
        for group in self._wanted:
            name = next((name for name in group if name in self.available and name not in self.refused), None)
            if name is None or name == "sts" or any(other in self.enabled | self._pending for other in group):
                continue
            if self._needs.get(name, name) in self.available:
                names.append(name)
                self._pending.add(name)
        return _requests(names)


def _requests(names: list[str]) -> list[bytes]:
    """REQ lines for these names, as few as their length allows."""
    lines: list[bytes] = []
    group: list[str] = []
    size = 0
    for name in names:
        if group and size + len(name) + 1 > _REQUEST_BYTES:
            lines.append(serialize("CAP", "REQ", " ".join(group)))
            group, size = [], 0
        group.append(name)
        size += len(name) + 1
    if group:
        lines.append(serialize("CAP", "REQ", " ".join(group)))
    return lines
