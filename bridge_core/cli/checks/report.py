"""What a check collects: findings, what was found to be fine, and what was not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from registration.review import Finding, Level


@dataclass(slots=True)
class Report:
    """Findings, good news and notes, in the order they came."""

    findings: list[Finding] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def error(self, where: str, what: str, advice: str) -> None:
        """Something the bridge cannot run with."""
        self.findings.append(Finding(Level.ERROR, where, what, advice))

    def warning(self, where: str, what: str, advice: str) -> None:
        """Something that works and should be otherwise."""
        self.findings.append(Finding(Level.WARNING, where, what, advice))

    def ok(self, text: str) -> None:
        """Something that was checked and is right."""
        self.fine.append(text)

    def note(self, text: str) -> None:
        """Something to know: what was not looked at, or could be better than it is."""
        self.notes.append(text)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take over findings made elsewhere."""
        self.findings += findings

    def lines(self) -> Iterator[str]:
        """All of it for people. Findings that the same advice mends stand together above it, so each is said once."""
        yield from (f"ok: {text}" for text in self.fine)
        yield from (f"note: {text}" for text in self.notes)
        together: dict[str, list[Finding]] = {}
        for finding in self.findings:
            together.setdefault(finding.advice, []).append(finding)
        for advice, those in together.items():
            yield from (f"{one.level}: {one.where}: {one.what}" for one in those)
            yield f"    {advice}"
        if self.findings:
            yield f"{_counted(self.errors, 'error')}, {_counted(len(self.findings) - self.errors, 'warning')}"
        else:
            yield "Nothing to complain about."

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level is Level.ERROR for finding in self.findings)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
