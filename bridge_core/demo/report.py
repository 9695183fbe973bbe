"""What a demo found, as data and as the JSON that programs read."""

from dataclasses import dataclass, field
from typing import Any

from bridge_core.api.demo import Crossing, Way

__all__ = ["NetworkReport", "Report", "StepReport"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """How one step went. `crossing` is there when it went well, `reason` when it did not."""

    name: str
    way: Way
    ms: float
    crossing: Crossing | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the other side saw what it should."""
        return self.crossing is not None

    def as_json(self) -> dict[str, Any]:
        """Its JSON object; `error` only when there is one."""
        found = {"name": self.name, "direction": self.way.value, "ok": self.ok, "ms": round(self.ms, 1)}
        return found if self.ok else {**found, "error": self.reason}


@dataclass(slots=True)
class NetworkReport:
    """How one network's part went. `error` says why it did not start, or what ended under it."""

    name: str
    server: str = ""
    steps: list[StepReport] = field(default_factory=list)
    error: str = ""
    unavailable: bool = False
    """Nothing is broken: this machine lacks the network's server."""

    @property
    def ok(self) -> bool:
        """Whether it ran and every step went well."""
        return bool(self.steps) and not self.error and all(step.ok for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """Its JSON object; `error` only when there is one."""
        found = {"ok": self.ok, "server": self.server, "steps": [step.as_json() for step in self.steps]}
        return {**found, "error": self.error} if self.error else found


@dataclass(slots=True)
class Report:
    """A whole run. `error` says what failed that belongs to no network."""

    required: frozenset[str] = frozenset()
    networks: dict[str, NetworkReport] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    stored: NetworkReport | None = None
    """What was looked for in what is stored, in a demo of encryption."""

    @property
    def ok(self) -> bool:
        """Whether at least one network ran, all that ran went well, and none that is required is missing."""
        ran = [one for one in self.networks.values() if not one.unavailable]
        kept = self.stored is None or self.stored.ok
        return kept and not self.error and bool(ran) and all(one.ok for one in ran) and not self.missing()

    def missing(self) -> list[str]:
        """Networks that are required and did not start."""
        return sorted(name for name in self.required if name not in self.networks or not self.networks[name].server)

    def as_json(self) -> dict[str, Any]:
        """`{"ok", "seconds", "networks"}`; `stored` in a demo of encryption, `error` only when there is one."""
        found = {
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "networks": {name: one.as_json() for name, one in self.networks.items()},
        }
        if self.stored is not None:
            found["stored"] = self.stored.as_json()
        return {**found, "error": self.error} if self.error else found
