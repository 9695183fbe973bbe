"""Commands that network types add to the command line."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import structlog

from bridge_core.api.queues import QueueItem
from bridge_core.api.tools import Place
from bridge_core.cli import tools
from bridge_core.cli.main import main
from bridge_core.store.errors import LeaseError
from tests.unit.cli.test_journal import Folder


class Counting:
    """A tool that tells what it was given, and counts its runs in the network's own state."""

    help = "counts"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("word")
        parser.add_argument("--twice", action="store_true")

    def run(self, arguments: argparse.Namespace, place: Place) -> int:
        for network, settings in place.networks.items():
            structlog.get_logger(__name__).warning("counted")
            sys.stdout.write(f"{network} {settings.server} {arguments.word}\n")
            for _ in range(1 + arguments.twice):
                sys.stdout.write(asyncio.run(self._count(place, network)) + "\n")
        return 3

    async def _count(self, place: Place, network: str) -> str:
        async with place.open(network) as opened:  # type: ignore[arg-type]
            number = int(await opened.secrets.get("runs") or b"0") + 1
            await opened.secrets.put("runs", str(number).encode())
            queue = opened.queue("things")
            await queue.put([QueueItem(f"{number}", b"x", opened.clock.now_ms())])

            async def chunks():
                yield b"file"

            blob = await opened.blobs.put(chunks(), 10)
            held = b"".join([chunk async for chunk in opened.blobs.open(blob)])
            return f"{opened.network} {number} {await queue.count()} {held.decode()}"


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A tool sets the log up; what there was before is back afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Folder:
    entry = EntryPoint("irc", "made.up:Counting", tools.GROUP)
    load = EntryPoint.load
    monkeypatch.setattr(EntryPoint, "load", lambda one: Counting if one is entry else load(one))
    monkeypatch.setattr(tools, "entry_points", lambda group: [entry] if group == tools.GROUP else [])
    return Folder(tmp_path, capsys)


def test_a_tool_has_its_networks_and_their_state(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """A network type's command gets its own arguments, validated settings, and durable state; its exit code counts."""
    config = ["-c", str(folder.path / "config.yaml")]

    assert main(["irc", *config, "hello", "--twice"]) == 3
    said = capsys.readouterr()
    assert said.out == "libera x hello\nlibera 1 1 file\nlibera 2 2 file\n"
    assert "counted" in said.err
    assert main(["irc", *config, "again"]) == 3
    assert "libera 3 3 file" in capsys.readouterr().out


def test_a_running_bridge_keeps_its_state_to_itself(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """While the bridge runs a tool is told so, and changes nothing."""

    async def run() -> None:
        database = folder.database()
        await database.start()
        try:
            place = tools.ToolPlace("irc", folder.path / "config.yaml")
            with pytest.raises(LeaseError):
                await Counting()._count(place, "libera")
        finally:
            await database.stop()

    asyncio.run(run())


def test_tools_are_offered(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names the commands of network types."""
    with pytest.raises(SystemExit):
        main(["--help"])

    assert "tools of irc networks" in capsys.readouterr().out
