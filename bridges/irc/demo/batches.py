"""Batches that clients open: draft/multiline (IRCv3 client-batch and multiline)."""

from __future__ import annotations

from bridges.irc.demo import messages
from bridges.irc.demo.client import Client
from bridges.irc.demo.speech import CONCAT, Speech
from bridges.irc.demo.wire import Line
from bridges.irc.demo.world import World

KIND = "draft/multiline"
#: Commands that are no part of a batch and may come while one is open: the signs of life, and the end.
_ALWAYS = frozenset({"BATCH", "PING", "PONG", "QUIT"})


class OpenBatch:
    """A batch a client has opened and not closed. After its FAIL the rest of it is ignored."""

    __slots__ = ("_failed", "command", "label", "opened", "parts", "reference", "size", "tags", "target")

    def __init__(self, reference: str, target: str, tags: str, label: str, opened: float) -> None:
        self.reference = reference
        self.target = target
        self.tags = tags
        self.label = label
        self.opened = opened
        self.command = ""
        self.parts: list[tuple[str, bool]] = []
        self.size = 0
        self._failed = False

    def takes(self, line: Line) -> bool:
        """Say whether a line belongs to the batch, or breaks it."""
        return line.command not in _ALWAYS

    def add(self, world: World, client: Client, line: Line) -> None:
        """Take one more line in, or fail the batch for it."""
        if self._failed:
            return
        text = line.params[1] if len(line.params) > 1 else ""
        joined = CONCAT in line.tags
        named = line.params[0] if line.params else "*"
        options = world.options
        self.size += len(text) + (1 if self.parts and not joined else 0)
        if (
            line.command not in ("NOTICE", "PRIVMSG")
            or line.tags.get("batch") != self.reference
            or (self.command and line.command != self.command)
            or (joined and (not text or not self.parts))
            or len(line.params) < 2
        ):
            self._fail(world, client, "MULTILINE_INVALID", "Invalid multiline batch")
        elif world.fold(named) != world.fold(self.target):
            self._fail(world, client, "MULTILINE_INVALID_TARGET", "Invalid multiline target", self.target, named)
        elif self.size > options.multiline_bytes:
            self._fail(
                world, client, "MULTILINE_MAX_BYTES", "Multiline batch max-bytes exceeded", str(options.multiline_bytes)
            )
        elif len(self.parts) >= options.multiline_lines:
            self._fail(
                world, client, "MULTILINE_MAX_LINES", "Multiline batch max-lines exceeded", str(options.multiline_lines)
            )
        else:
            self.command = line.command
            self.parts.append((text, joined))

    def close(self, world: World, client: Client) -> None:
        """Deliver the whole of it, or fail."""
        if self._failed:
            return
        if not any(text for text, _ in self.parts):
            self._fail(world, client, "MULTILINE_INVALID", "Invalid multiline batch with blank lines only")
            return
        self._answer_to_label(client)
        route = messages.find_route(world, client, self.target, quiet=self.command == "NOTICE")
        if route is None:
            return
        head = world.message(client.source, "", sender=client, msgid=True)
        said = Speech(
            client.source,
            self.command,
            route.target,
            tuple(self.parts),
            head.time,
            head.msgid,
            client.account,
            self.tags,
        )
        messages.deliver_speech(world, client, route, said)

    def expire(self, world: World, client: Client) -> None:
        """Give the batch up: it was open for too long."""
        if not self._failed:
            self._fail(world, client, "TIMEOUT", "Batch timed out", self.reference)
            if client.label:
                client.answer_labelled(world.options.name, world.options.line_length)

    def _fail(self, world: World, client: Client, code: str, text: str, *words: str) -> None:
        self._failed = True
        self._answer_to_label(client)
        world.fail(client, "BATCH", code, text, *words)

    def _answer_to_label(self, client: Client) -> None:
        """Let what follows be the answer to the label of the line that opened the batch."""
        if self.label:
            client.label, self.label = self.label, ""
            client.capture = []


def batch(world: World, client: Client, line: Line) -> None:
    """Open or close a batch. A label of the opening line is answered when the batch is closed or has failed."""
    if KIND not in client.caps or "batch" not in client.caps:
        world.numeric(client, 421, "Unknown command", "BATCH")
        return
    word = line.params[0] if line.params else ""
    sign, reference = word[:1], word[1:]
    if sign == "+" and reference and client.open is None and len(line.params) > 2 and line.params[1] == KIND:
        tags = messages.client_tags(world, client, line.tags)
        client.open = OpenBatch(reference, line.params[2], tags, client.label, world.now())
        client.label, client.capture = "", None
    elif sign == "-" and client.open is not None and client.open.reference == reference:
        done, client.open = client.open, None
        done.close(world, client)
    else:
        world.fail(client, "BATCH", "MULTILINE_INVALID", "Invalid multiline batch")
        client.open = None
