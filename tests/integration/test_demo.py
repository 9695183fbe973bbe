"""`matrix-bridge demo --headless` as a program: what it prints, and its exit status."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server

_LIMIT = 120.0
TO_NETWORK = {"plain", "notice", "emote", "formatted", "reply", "edit", "redaction", "image", "long_text"}
MAIL_TO_NETWORK = {"answer", "formatted", "file", "new_mail", "reaction", "edit", "redaction", "refused"}
MAIL_TO_MATRIX = {"mail", "formatted", "file", "answer", "reaction", "unknown_address"}
TO_MATRIX = {"plain", "notice", "emote", "formatted", "colours", "private_message"}


@asynccontextmanager
async def demo(*arguments: str, limit: float = _LIMIT) -> AsyncIterator[Process]:
    """A running `matrix-bridge demo`, interrupted when the block ends before it does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge_core.cli.main", "demo", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(limit):
            yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.communicate()


async def ended(process: Process) -> tuple[int, dict[str, Any], str]:
    """The exit status, the JSON of standard output, and all of standard error that was not read yet."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out), err.decode()


def alive(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found


@pytest.mark.parametrize("server", ["inspircd", "ngircd", "demo"])
async def test_every_step_crosses(server: str, folder: Path) -> None:
    """On each IRC server and by mail every step is seen on the other side, the status is 0, nothing is left running."""
    async with demo(
        "--json", "--require", "irc,email", "--server", f"irc={server}", "--directory", f"{folder}/d"
    ) as process:
        status, report, err = await ended(process)
    irc = report["networks"]["irc"]
    assert [step for step in irc["steps"] if not step["ok"]] == [], err
    assert (status, report["ok"], irc["ok"]) == (0, True, True), err
    assert report["seconds"] < 60
    name, _, version = irc["server"].partition(" ")
    assert name.lower().startswith(server)
    assert version[0].isdigit()
    done = {(step["name"], step["direction"]) for step in irc["steps"]}
    assert {(name, "to_network") for name in TO_NETWORK} | {(name, "to_matrix") for name in TO_MATRIX} <= done
    email = report["networks"]["email"]
    assert [step for step in email["steps"] if not step["ok"]] == [], err
    assert email["ok"]
    done = {(step["name"], step["direction"]) for step in email["steps"]}
    wanted = {(name, "to_network") for name in MAIL_TO_NETWORK} | {(name, "to_matrix") for name in MAIL_TO_MATRIX}
    assert wanted == done
    assert alive(folder) == []


ECHOED = {"text", "own_device", "reply", "edit", "reaction", "file", "redaction"}
STORED = ["control_is_found", "only_ciphertext", "absent_from_homeserver", "absent_from_bridge"]


@pytest.mark.timeout(240)
async def test_encrypted(folder: Path) -> None:
    """In encrypted rooms each step of Echo and IRC crosses, and nothing of it is stored; a control room's words are."""
    arguments = ("--encrypted", "--json", "--require", "irc,echo", "--server", "irc=inspircd")
    async with demo(*arguments, "--directory", f"{folder}/d", limit=200) as process:
        status, report, err = await ended(process)
    assert (status, report["ok"]) == (0, True), err
    networks = report["networks"]
    assert set(networks) == {"echo", "irc"}
    assert {step["name"] for step in networks["echo"]["steps"] if step["ok"]} == ECHOED
    done = {(step["name"], step["direction"]) for step in networks["irc"]["steps"] if step["ok"]}
    assert {(name, "to_network") for name in TO_NETWORK} | {(name, "to_matrix") for name in TO_MATRIX} <= done
    stored = report["stored"]
    assert [step["name"] for step in stored["steps"] if step["ok"]] == STORED
    assert {step["direction"] for step in stored["steps"]} == {"at_rest"}
    assert alive(folder) == []


async def test_networks_that_are_not_held_in_encrypted_rooms() -> None:
    """Such a network is left out, and asking for it by name makes the status 1, with the reason."""
    async with demo("--encrypted", "--json", "--network", "email") as process:
        status, report, err = await ended(process)
    assert (status, report["ok"]) == (1, False)
    assert "the demo of email is not held in encrypted rooms" in err


async def test_unknown_required_network() -> None:
    """A required network that does not exist makes the status 1, and is named."""
    async with demo("--json", "--require", "irc,nowhere") as process:
        status, report, err = await ended(process)
    assert (status, report["ok"]) == (1, False)
    assert "nowhere is required, and could not be started" in err


async def test_irc_server_killed_midway(folder: Path) -> None:
    """When the IRC server dies during the conversation, the status is 1 and the message says who died."""
    async with demo("--json", "--server", "irc=ngircd", "--directory", f"{folder}/d") as process:
        assert process.stderr is not None
        async for line in process.stderr:
            if line.startswith(b"ok"):
                break
        os.kill(int((folder / "d" / "irc" / "ngircd.pid").read_text()), signal.SIGKILL)
        status, report, err = await ended(process)
    assert (status, report["ok"]) == (1, False)
    irc = report["networks"]["irc"]
    assert irc["error"].startswith("ngircd was killed by signal 9")
    assert str(folder / "d" / "irc" / "ngircd.log") in irc["error"]
    assert "ngircd was killed by signal 9" in err
    assert irc["steps"][0]["ok"]
    assert not irc["steps"][-1]["ok"]
    assert alive(folder) == []


async def test_stays_until_interrupted(folder: Path) -> None:
    """Without --headless it says where to point clients, runs until SIGINT, and then stops everything with status 0."""
    async with demo("--server", "irc=demo", "--directory", f"{folder}/d") as process:
        assert process.stdout is not None
        said = ""
        async for line in process.stdout:
            said += line.decode()
            if b"until Ctrl-C" in line:
                break
        assert "FAILED" not in said
        assert "homeserver http://127.0.0.1:" in said
        assert "user alice   password " in said
        assert "channel #demo" in said
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
    assert alive(folder) == []
