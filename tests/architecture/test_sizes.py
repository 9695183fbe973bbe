"""Modules stay small enough to be read in one sitting."""

import math
import statistics
from pathlib import Path

from tests.architecture.source import modules, name_of

CAP = 500
P90 = 350
MEDIAN = 150


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _sizes() -> dict[str, int]:
    """Sizes of all modules that hold code; package files that only export would flatter the median."""
    return {name_of(path): _lines(path) for path in modules() if path.name != "__init__.py"}


def test_no_module_is_over_the_cap() -> None:
    """No module has more than 500 lines."""
    over = {name_of(path): _lines(path) for path in modules() if _lines(path) > CAP}
    assert not over, f"split these modules (more than {CAP} lines): {over}"


def test_most_modules_are_short() -> None:
    """The median module has at most 150 lines, nine of ten at most 350."""
    sizes = _sizes()
    ranked = sorted(sizes.values())
    longest = sorted(sizes.items(), key=lambda item: -item[1])[:12]
    assert statistics.median(ranked) <= MEDIAN, f"the median module is too long; the longest: {longest}"
    assert ranked[math.ceil(0.9 * len(ranked)) - 1] <= P90, f"too many modules over {P90} lines: {longest}"
