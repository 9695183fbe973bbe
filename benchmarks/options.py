"""What a run of the benchmarks is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of the scenarios. ``bare_only`` leaves the bridge out (to check the stubs themselves)."""

    count: int = 20_000
    puppets: int = 200
    crowd: int = 1_000
    portals: tuple[int, ...] = (1_000, 10_000)
    members: tuple[int, ...] = (10, 1_000, 10_000)
    synced: int = 5_000
    devices: int = 1_000
    ghosts: int = 10_000
    latency_rate: float = 50.0
    latency_seconds: float = 20.0
    postgres: str | None = None
    bare_only: bool = False


#: Where the bridge keeps its journal unless a scenario says otherwise.
SQLITE = "sqlite:///bridge.db"


def names(count: int) -> list[str]:
    """Give channel names that survive every mapping to an alias: #chan0, #chan1, ..."""
    return [f"#chan{number}" for number in range(count)]
