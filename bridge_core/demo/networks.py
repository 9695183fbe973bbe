"""Finds the demo parts of the installed networks through their entry points."""

from collections.abc import Collection, Mapping
from importlib.metadata import entry_points

from bridge_core.api.demo import DemoError, NetworkDemo

__all__ = ["GROUP", "load_demos"]

GROUP = "matrix_bridge.demos"


def load_demos(only: Collection[str], servers: Mapping[str, str]) -> tuple[dict[str, NetworkDemo], dict[str, str]]:
    """`(demos, broken)` by network: those of `only` (all when empty), and why others cannot be had.

    `servers` chooses a network's server. A name in `only` or `servers` that no installed network has is broken.
    """
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    wanted = sorted(set(only) or set(installed))
    demos: dict[str, NetworkDemo] = {}
    broken: dict[str, str] = {}
    for name in sorted({*wanted, *servers}):
        if name not in installed:
            broken[name] = f"there is no demo of a network {name}; installed are: {', '.join(sorted(installed))}"
        elif name in wanted:
            try:
                demos[name] = installed[name].load()(servers.get(name))
            except ImportError as error:
                broken[name] = f"its demo cannot be loaded: {error}"
            except (ValueError, DemoError) as error:
                broken[name] = str(error)
    return demos, broken
