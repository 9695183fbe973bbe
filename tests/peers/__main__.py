"""`python -m tests.peers` installs both clients: what ./test does before its first test."""

import asyncio
import sys

from bridge_core.demo.locked_venv import SetupError
from bridge_core.demo.peers.peer import ensure_nio
from tests.peers.rust import ensure_rust


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _install() -> None:
    for ensure in (ensure_nio, ensure_rust):
        await ensure(_say)


try:
    asyncio.run(_install())
except SetupError as error:
    sys.exit(f"an encrypted client cannot be installed: {error}")
