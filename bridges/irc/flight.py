"""Messages on their way over one connection, and what proves that they arrived.

Three proofs, by what the network can do: the labelled echo of each line; the observer's connection seeing the line; or
the PONG to a PING written behind it, since a server answers in order and says before it what it refused. Where an echo
is due, a PONG without it proves the contrary: the server took the line and did not say it.
"""

import asyncio
from collections import deque
from typing import Final

from bridge_core.api.errors import RejectedError, UnknownOutcomeError
from bridge_core.api.ids import MessageId
from bridge_core.api.network import Proof, Sent
from bridges.irc.codec.labels import LabelBook

LINES_AT_MOST: Final = 4096
"""Lines without proof on one connection; whoever writes more waits."""


class Outbound:
    """One message of one or more lines; `future` ends when all of them have."""

    __slots__ = ("future", "ids", "left", "proof", "reason", "unsaid")

    def __init__(self, future: "asyncio.Future[Sent]", lines: int) -> None:
        self.future = future
        self.left = lines
        self.ids: list[MessageId | None] = [None] * lines
        self.proof = Proof.ECHOED
        self.reason: str | None = None
        self.unsaid = False
        """The server gave no sign of a line that it should have echoed."""

    def end(self) -> None:
        """One line more has ended; the last one ends the message."""
        self.left -= 1
        if self.left > 0 or self.future.done():
            return
        if self.reason is not None:
            self.future.set_exception(RejectedError(self.reason))
        elif self.unsaid:
            self.future.set_exception(UnknownOutcomeError("the network took it and gave no sign of having said it"))
        else:
            self.future.set_result(Sent(tuple(message for message in self.ids if message is not None), self.proof))


class _InFlight:
    """One line on its way. `target` is folded."""

    __slots__ = ("command", "done", "echo", "index", "label", "outbound", "seq", "target", "text")

    def __init__(self, outbound: Outbound, index: int, seq: int, command: str, target: str, text: str) -> None:
        self.outbound = outbound
        self.index = index
        self.seq = seq
        self.command = command
        self.target = target
        self.text = text
        self.label = ""
        self.echo = False
        self.done = False


class Flight:
    """The lines of one connection that are written and not yet proved, in the order of writing."""

    __slots__ = ("_empty", "_labels", "_lines", "_pinged", "_room", "_seq", "_token", "ended")

    def __init__(self) -> None:
        self._lines: deque[_InFlight] = deque()
        self._labels: LabelBook[_InFlight] = LabelBook(LINES_AT_MOST + 1)
        self._seq = 0
        self._pinged: int | None = None
        self._token = 0
        self._room: asyncio.Future[None] | None = None
        self._empty: asyncio.Future[None] | None = None
        self.ended = False

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def full(self) -> bool:
        """Whether a further line has to wait."""
        return len(self._lines) >= LINES_AT_MOST

    @property
    def pinging(self) -> bool:
        """Whether a PING has not been answered yet."""
        return self._pinged is not None

    async def room(self) -> None:
        """Returns once there is room for a line, or the connection is gone."""
        while self.full and not self.ended:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    async def settled(self, timeout: float) -> None:
        """Returns once everything is proved, or after `timeout` seconds."""
        if self._lines and not self.ended:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._empty,), timeout=timeout)
            self._empty = None

    # Writing

    def add(
        self,
        outbound: Outbound,
        index: int,
        command: str,
        target: str,
        text: str,
        *,
        labelled: bool,
        echo: bool = False,
    ) -> str:
        """Notes a line that is written now and returns its label, empty when it has none. `echo`: one is due."""
        self._seq += 1
        # Some servers strip the end of a line.
        line = _InFlight(outbound, index, self._seq, command, target, text.rstrip(" "))
        self._lines.append(line)
        if labelled:
            line.label, line.echo = self._labels.add(line, 0.0), echo
        return line.label

    def ping(self) -> str | None:
        """The token of a PING that covers all lines written so far; None while another one is on its way."""
        if self._pinged is not None:
            return None
        self._pinged = self._seq
        self._token += 1
        return f"mb{self._token}"

    # Proofs

    def pong(self, token: str) -> bool:
        """The server has worked through all that was written before that PING; whether lines are left behind it."""
        if self._pinged is None or token != f"mb{self._token}":
            return bool(self._lines)
        covered, self._pinged = self._pinged, None
        for line in self._lines:
            if line.seq > covered:
                break
            if not line.done:
                line.outbound.proof = Proof.ACCEPTED
                line.outbound.unsaid |= line.echo
                self._labels.take(line.label)
                self._end(line)
        self._trim()
        return bool(self._lines)

    def answered(self, label: str, *, message: MessageId | None = None, echoed: bool = True) -> bool:
        """The server answered a labelled line with its echo (and the id it gave it), or an acknowledgement."""
        line = self._labels.take(label)
        if line is None or line.done:
            return line is not None
        line.outbound.ids[line.index] = message
        if not echoed:
            line.outbound.proof = Proof.ACCEPTED
        self._end(line)
        self._trim()
        return True

    def refused(self, label: str, reason: str) -> bool:
        """The server answered a labelled line with an error; whether the label was one of ours."""
        line = self._labels.take(label)
        if line is None:
            return False
        if not line.done:
            self._refuse(line, reason)
        return True

    def refused_target(self, target: str, reason: str) -> bool:
        """An error without a label named a target: it is that of the oldest unproved line there."""
        for line in self._lines:
            if not line.done and line.target == target:
                self._refuse(line, reason)
                return True
        return False

    def refused_command(self, command: str, reason: str) -> bool:
        """An error without a label and a target named a command: it is that of the oldest unproved such line."""
        for line in self._lines:
            if not line.done and line.command == command:
                self._refuse(line, reason)
                return True
        return False

    def seen(self, command: str, target: str, text: str, message: MessageId | None) -> bool:
        """The observer saw a line of this connection's nick; whether it is one that waited for it."""
        text = text.rstrip(" ")
        for line in self._lines:
            if not line.done and line.text == text and line.target == target and line.command == command:
                line.outbound.ids[line.index] = message
                self._end(line)
                self._trim()
                return True
        return False

    def closed(self) -> None:
        """The connection is gone: no further line is written. What the observer sees yet is still a proof."""
        self.ended = True
        self._wake()

    def lost(self, reason: str) -> None:
        """No proof will come any more: nobody will ever know of the rest."""
        self.closed()
        lines = [line for line in self._lines if not line.done]
        self._lines.clear()
        self._labels.clear()
        for line in lines:
            line.done = True
            if not line.outbound.future.done():
                line.outbound.future.set_exception(UnknownOutcomeError(reason))

    def _refuse(self, line: _InFlight, reason: str) -> None:
        if line.outbound.reason is None:
            line.outbound.reason = reason
        self._end(line)
        self._trim()

    def _end(self, line: _InFlight) -> None:
        line.done = True
        line.outbound.end()

    def _trim(self) -> None:
        """Forgets ended lines at the front."""
        lines = self._lines
        while lines and lines[0].done:
            lines.popleft()
        if self._room is not None and not self.full:
            self._wake()
        if self._empty is not None and not lines and not self._empty.done():
            self._empty.set_result(None)

    def _wake(self) -> None:
        if self.ended and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
