"""What tests of the demo server share: words of lines, and the types of the fixtures in conftest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Received, Witness

Start = Callable[..., Awaitable[DemoIrcServer]]
Connect = Callable[..., Awaitable[Witness]]


def numeric(code: str) -> Callable[[Received], bool]:
    """Match a numeric or a command."""
    return lambda line: line.command == code


def failed(command: str, code: str) -> Callable[[Received], bool]:
    """Match a FAIL of a command."""
    return lambda line: line.command == "FAIL" and line.params[:2] == (command, code)


async def batch(witness: Witness, kind: str, *, since: int = 0) -> tuple[Received, list[Received]]:
    """Wait for a whole batch of a kind; gives its opening line and the lines right in it."""

    def opens(line: Received) -> bool:
        return line.command == "BATCH" and line.params[0].startswith("+") and line.params[1] == kind

    opening = await witness.wait_for(opens, since=since)
    name = opening.params[0][1:]
    await witness.wait_for(lambda r: r.command == "BATCH" and r.params[0] == "-" + name, since=since)
    return opening, [line for line in witness.lines[since:] if line.tags.get("batch") == name]
