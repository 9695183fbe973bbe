"""docs/status.md names only tests and files that exist."""

import ast
import re

from tests.docs.source import ROOT, code_of

PAGE = ROOT / "docs" / "status.md"
STATES = ("done", "partly: ", "not done")


def _table_rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not set(line) <= set("|- ")]
    return [cells for cells in found if cells[0] not in ("promise", "what")]


def test_each_named_test_exists() -> None:
    """Each `path::name` of the page is a test function in that file."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 100
    wrong = []
    for path, name in sorted(set(named)):
        file = ROOT / "tests" / path
        names = set()
        if file.is_file():
            tree = ast.parse(file.read_text(encoding="utf-8"))
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        if not name.startswith("test_") or name not in names:
            wrong.append(f"{path}::{name}")
    assert wrong == []


def test_each_named_file_exists() -> None:
    """What is said to keep a promise is a file or folder of the project."""
    named = [path for cells in _table_rows() if len(cells) == 4 for path in code_of(cells[1]) if "::" not in path]
    assert len(named) > 60
    assert sorted({path for path in named if not (ROOT / path).exists()}) == []


def test_each_promise_has_a_test_or_says_what_is_missing() -> None:
    """A promise is done with a test, or partly, with what is missing in words."""
    wrong = []
    for cells in _table_rows():
        if len(cells) != 4 or cells[3] == "met" or cells[3] == "not measured yet":
            continue
        state, tests = cells[3], code_of(cells[2])
        if not state.startswith(STATES) or (state.startswith("done") and not tests):
            wrong.append(cells[0])
    assert wrong == []
