"""Reads the documentation and the code for the tests that compare them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "code_of", "log_events", "pages", "rows", "sources"]

ROOT = Path(__file__).resolve().parents[2]
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def pages() -> list[Path]:
    """Returns every page that is committed for people."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bridges").rglob("*.md")]
    assert len(found) > 5, "the layout changed"
    return sorted(found)


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    """Yields path and text of every module of the folders."""
    for folder in folders or ("bridge_core", "bridges", "registration"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def log_events() -> dict[str, set[str]]:
    """Returns the events that the code logs, with their levels."""
    found: dict[str, set[str]] = {}
    for _, text in sources():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            level, event = node.func.attr, node.args[0]
            if level in _LEVELS and "log" in ast.unparse(node.func.value).lower() and isinstance(event, ast.Constant):
                found.setdefault(str(event.value), set()).add("error" if level == "exception" else level)
    return found


def rows(page: Path, heading: str) -> list[list[str]]:
    """Returns the cells of all table rows below a heading, down to the next heading; heads and rules left out."""
    text = page.read_text(encoding="utf-8")
    match = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{page.name} has no heading {heading}"
    lines = [line for line in match[1].splitlines() if line.startswith("|")]
    found = []
    for index, line in enumerate(lines):
        is_head = index + 1 < len(lines) and set(lines[index + 1]) <= set("|- ")
        if not is_head and not set(line) <= set("|- "):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    assert found, f"{page.name} has no table below {heading}"
    return found


def code_of(cell: str) -> list[str]:
    """Returns what stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)
