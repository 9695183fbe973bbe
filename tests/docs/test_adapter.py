"""docs/guides/adapter.md: its code works, and it names the whole contract."""

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bridge_core.api import errors, optional
from bridge_core.demo.ports import free_port
from tests.docs.source import ROOT, code_of, rows
from tests.harness import Harness

PAGE = ROOT / "docs" / "guides" / "adapter.md"


class LinesServer:
    """The network of the guide: repeats every line to everybody."""

    def __init__(self) -> None:
        self.port = free_port()
        self.lines: list[str] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close all connections."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    def say(self, line: str) -> None:
        """Say a line to everybody."""
        for writer in self._writers:
            writer.write(line.encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        while line := await reader.readline():
            self.lines.append(line.decode().rstrip("\n"))
            self.say(self.lines[-1])
        self._writers.discard(writer)
        writer.close()


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[LinesServer]:
    server = LinesServer()
    await server.start()
    yield server
    await server.stop()


def _adapter() -> Any:
    """The guide's adapter, from the text of the page."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    module = ModuleType("adapter_of_the_guide")
    sys.modules[module.__name__] = module
    exec(compile(blocks[0], str(PAGE), "exec"), module.__dict__)
    return module.LinesConnector


async def test_the_guides_adapter_bridges(server: LinesServer, tmp_path: Path) -> None:
    """The code of the guide carries messages both ways, comes back after a loss, and the books balance."""
    networks = {"lines": {"type": "lines", "host": "127.0.0.1", "port": server.port, "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, adapters={"lines": _adapter()}) as harness:
        room = await harness.portal_room("lines", "lobby")
        harness.alice.send(room, "hello\nthere")
        await harness.until(lambda: server.lines == ["lobby alice hello / there"])
        server.say("lobby Bob hello yourself")
        await harness.homeserver.wait_message(room, "hello yourself")
        await harness.settled()
        await server.stop()
        await harness.until(lambda: not harness.running.networks.get("lines").up)  # type: ignore[union-attr, arg-type]
        harness.alice.send(room, "are you there?")
        await harness.homeserver.wait_pushed()
        await server.start()
        await harness.until(lambda: server.lines[1:] == ["lobby alice are you there?"])
        await harness.settled()
        audit = await harness.running.journal.audit()
        assert audit.holds
        assert (audit.balances["lines", 0].delivered, audit.balances["lines", 1].delivered) == (2, 1)


def test_every_optional_protocol_is_explained() -> None:
    """The table of optional parts has each Protocol with its methods, and no other."""
    code = {
        name: {method for method in vars(one) if not method.startswith("_")}
        for name, one in vars(optional).items()
        if inspect.isclass(one) and one.__module__ == optional.__name__
    }
    page = {code_of(cells[0])[0]: set(code_of(cells[2])) for cells in rows(PAGE, "Optional")}
    assert page == code


def test_every_error_is_explained() -> None:
    """The guide says what the core does for each error of the contract."""
    text = PAGE.read_text(encoding="utf-8")
    names = [name for name, one in vars(errors).items() if inspect.isclass(one)]
    assert [name for name in names if f"`{name}`" not in text] == []
