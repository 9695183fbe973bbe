"""Lines that belong together: IRCv3 batches, nested ones too, gathered until their end. Bounded; nothing is dropped."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from bridges.irc.codec.message import Line, Source

LINES_AT_MOST: Final = 2048
"""Lines of one batch, inner ones included, that are gathered; more come in further parts."""
CHARACTERS_AT_MOST: Final = 1 << 19
OPEN_AT_MOST: Final = 32
PATIENCE: Final = 30.0
"""Seconds that a batch may stay open; then what came of it is handed over, and the rest comes line by line."""
_OVERHEAD: Final = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: its type, parameters, tags and source as its opening line had them, and what it holds, in order.

    A batch that is larger than allowed comes in parts, counted from 0; `last` is unset for parts that others follow,
    and for a batch whose end never came.
    """

    type: str
    params: tuple[str, ...]
    tags: Mapping[str, str]
    source: Source | None
    items: tuple["Line | Batch", ...]
    part: int = 0
    last: bool = True

    def param(self, index: int) -> str:
        """The parameter behind the type at `index`, or the empty string."""
        return self.params[index] if index < len(self.params) else ""

    def lines(self) -> Iterator[Line]:
        """All lines, those of inner batches in their places."""
        for item in self.items:
            if isinstance(item, Batch):
                yield from item.lines()
            else:
                yield item


Handler: TypeAlias = Callable[[Batch], None]


class _Open:
    """A batch whose end has not come."""

    __slots__ = ("characters", "items", "lines", "opening", "parent", "part", "root", "timer")

    def __init__(self, opening: Line, parent: "_Open | None") -> None:
        self.opening = opening
        self.parent = parent
        self.root: _Open = parent.root if parent is not None else self
        self.items: list[Line | _Open] = []
        self.part = 0
        self.lines = 0
        """Of the root: how many lines are gathered, and how many characters."""
        self.characters = 0
        self.timer: asyncio.TimerHandle | None = None


class Batches:
    """The open batches of one connection. Types that nobody handles are passed through line by line.

    Session gives it each BATCH line and each line with the tag `batch`. Handlers must not block.
    """

    __slots__ = ("_handlers", "_open")

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._open: dict[str, _Open] = {}

    def on(self, kind: str, handler: Handler) -> None:
        """Batches of this type are gathered from now on and given to `handler` at their end."""
        self._handlers[kind] = handler

    def holds(self, line: Line) -> bool:
        """Whether `take` would gather a line."""
        return line.tags.get("batch", "") in self._open

    def take(self, line: Line) -> bool:
        """Gathers a line with the tag `batch`; False when it is to be handled by itself."""
        batch = self._open.get(line.tags.get("batch", ""))
        if batch is None:
            return False
        if line.command == "BATCH":
            self.received(line)
            return True
        root = batch.root
        root.characters += sum(map(len, line.params)) + sum(map(len, line.tags.values())) + _OVERHEAD
        root.lines += 1
        batch.items.append(line)
        if root.lines >= LINES_AT_MOST or root.characters >= CHARACTERS_AT_MOST:
            self._part(root)
        return True

    def received(self, line: Line) -> None:
        """A BATCH line: one begins or ends (IRCv3 batch)."""
        sign, name = line.param(0)[:1], line.param(0)[1:]
        if sign == "-":
            self._ended(name)
        elif sign == "+" and name and name not in self._open and len(self._open) < OPEN_AT_MOST:
            parent = self._open.get(line.tags.get("batch", ""))
            if parent is None and line.param(1) not in self._handlers:
                return
            batch = self._open[name] = _Open(line, parent)
            if parent is None:
                batch.timer = asyncio.get_running_loop().call_later(PATIENCE, self._hand_over, batch, False)
            else:
                parent.items.append(batch)

    def closed(self) -> None:
        """The connection is gone: what came is handed over."""
        for batch in [batch for batch in self._open.values() if batch.parent is None]:
            self._hand_over(batch, False)

    def _ended(self, name: str) -> None:
        batch = self._open.get(name)
        if batch is None:
            return
        if batch.parent is None:
            self._hand_over(batch, True)
        else:
            del self._open[name]

    def _hand_over(self, root: _Open, last: bool) -> None:
        """Ends a batch and all within it."""
        if root.timer is not None:
            root.timer.cancel()
        for name in [name for name, batch in self._open.items() if batch.root is root]:
            del self._open[name]
        self._tell(root, last)

    def _part(self, root: _Open) -> None:
        """Hands over what a batch holds so far; it stays open."""
        self._tell(root, False)
        root.lines = root.characters = 0
        for batch in self._open.values():
            if batch.root is root:
                batch.items = []
                batch.part += 1
                if batch.parent is not None:
                    batch.parent.items.append(batch)

    def _tell(self, root: _Open, last: bool) -> None:
        handler = self._handlers.get(root.opening.param(1))
        if handler is not None:
            handler(_frozen(root, last))


def _frozen(batch: _Open, last: bool) -> Batch:
    """The batch as a value. Nesting is no deeper than batches can be open."""
    opening = batch.opening
    items = tuple(_frozen(item, last) if isinstance(item, _Open) else item for item in batch.items)
    return Batch(opening.param(1), opening.params[2:], opening.tags, opening.source, items, batch.part, last)
