"""What people see of a demo: progress while things start, and what crosses."""

import contextlib
import sys
import time
from typing import TextIO

from bridge_core.api.demo import Way
from bridge_core.demo.report import StepReport

__all__ = ["Screen", "shown"]

_ARROWS = {Way.TO_NETWORK: "Matrix ──▶ {network}", Way.TO_MATRIX: "{network} ──▶ Matrix", Way.AT_REST: "{network}"}
_LONGEST = 96


def shown(text: str, longest: int = _LONGEST) -> str:
    """A text on one line: control characters as escapes, cut where it is too long."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


class Screen:
    """Writes lines at once; colours only on a terminal. Where the other end has gone away, nothing is written."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._colours = self._out.isatty()
        self._began = time.monotonic()

    def say(self, text: str = "") -> None:
        """Write a line (or several)."""
        with contextlib.suppress(BrokenPipeError):  # nobody reads on; stopping in order matters more
            try:
                print(text, file=self._out, flush=True)
            except UnicodeEncodeError:  # a terminal without UTF-8
                print(text.encode("ascii", "backslashreplace").decode(), file=self._out, flush=True)

    def progress(self, text: str) -> None:
        """Write what is being done, with the seconds since the beginning."""
        self.say(self._dim(f"{time.monotonic() - self._began:6.1f} s  {text}"))

    def step(self, network: str, step: StepReport) -> None:
        """Write one step of a conversation: the way it went, what was said and what was seen."""
        way = _ARROWS[step.way].format(network=network)
        mark = self._colour("ok    ", "32") if step.ok else self._colour("FAILED", "31;1")
        self.say(f"{mark} {way}  {step.name.replace('_', ' ')} {self._dim(f'{step.ms:.0f} ms')}")
        if step.crossing is not None:
            self.say(f"         said: {shown(step.crossing.said)}")
            self.say(f"         seen: {shown(step.crossing.seen)}")
        else:
            self.say(f"         {step.reason}")

    def failure(self, text: str) -> None:
        """Write what went wrong."""
        self.say(self._colour(text, "31"))

    def _dim(self, text: str) -> str:
        return self._colour(text, "2")

    def _colour(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text
