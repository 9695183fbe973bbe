"""The bridge of the invariants' tests."""

from tests.invariants.conftest import bridge, gates, impatient, log, script, sections

__all__ = ["bridge", "gates", "impatient", "log", "script", "sections"]
