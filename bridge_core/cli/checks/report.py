"""What a check collects: findings, and what was found to be fine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from registration.review import Finding, Level


@dataclass(slots=True)
class Report:
    """Findings and good news, in the order they came."""

    findings: list[Finding] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)

    def error(self, where: str, what: str, advice: str) -> None:
        """Something the bridge cannot run with."""
        self.findings.append(Finding(Level.ERROR, where, what, advice))

    def warning(self, where: str, what: str, advice: str) -> None:
        """Something that works and should be otherwise."""
        self.findings.append(Finding(Level.WARNING, where, what, advice))

    def ok(self, text: str) -> None:
        """Something that was checked and is right."""
        self.fine.append(text)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take over findings made elsewhere."""
        self.findings += findings

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level is Level.ERROR for finding in self.findings)
