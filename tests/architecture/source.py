"""Finds the project's modules for the tests of its shape."""

from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "modules", "name_of"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bridge_core", "bridges", "registration")


def modules(*packages: str) -> list[Path]:
    """Returns every Python file of the packages (all of ours when none is named), sorted."""
    found = [path for package in packages or PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert found, "no modules found: the layout changed"
    return sorted(path for path in found if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    """Returns a path as the reader knows it, from the project's folder."""
    return path.relative_to(ROOT).as_posix()
