"""Synapse's own Python environment, made from its own hashed lock: Synapse is AGPL, run and never imported."""

from collections.abc import Callable
from pathlib import Path

from bridge_core.demo.locked_venv import LockedVenv, SetupError

__all__ = ["SetupError", "ensure_synapse"]


async def ensure_synapse(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Returns the interpreter that can run Synapse, making its environment first when needed (half a minute).

    `progress` gets a line when something slow begins. Raises SetupError.
    """
    return await LockedVenv("synapse", Path(__file__).with_name("synapse.lock"), "Synapse").ensure(progress)
