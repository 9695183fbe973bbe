"""What a server says in answer to one line, as somebody reads it."""

import asyncio
from typing import Final

from bridges.irc.codec.message import Line

_LINES_AT_MOST: Final = 100
_OF_OTHERS: Final = frozenset(("PRIVMSG", "NOTICE", "TAGMSG", "JOIN", "PART", "QUIT", "NICK", "PONG"))


class Answer:
    """Gathers lines until `complete`: numerics and standard replies, and what the server says of us."""

    __slots__ = ("done", "lines")

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, line: Line) -> None:
        """One more line; of what people say among each other nothing is taken."""
        if line.command in _OF_OTHERS and line.source is not None and line.source.user:
            return
        if len(self.lines) < _LINES_AT_MOST:
            words = line.params[1:] if line.command.isdigit() else line.params
            self.lines.append(" ".join((line.command, *words)))

    def complete(self) -> None:
        """The answer is complete, or the connection gone."""
        if not self.done.done():
            self.done.set_result(None)
