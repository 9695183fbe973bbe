"""What is never done with text: it is not run, not unpickled, and no broken cryptography is linked."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "marshal", "shelve", "dill", "olm", "jinja2", "js2py", "quickjs"}


def _uses(tree: ast.AST) -> set[str]:
    """Names of this kind that a module calls or imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN:
                found.add(node.func.id)
            found |= {"shell" for word in node.keywords if word.arg == "shell"}
        elif isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0]} & MODULES
    return found


def test_cve_2023_43656_no_text_is_run() -> None:
    """CVE-2023-43656: nothing from outside can be run as code: no module evaluates, unpickles or calls a shell."""
    found = {
        str(path.relative_to(ROOT)): uses
        for package in ("bridge_core", "bridges", "registration")
        for path in (ROOT / package).rglob("*.py")
        if (uses := _uses(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_cve_2024_45191_libolm_is_not_used() -> None:
    """CVE-2024-45191, CVE-2024-45192, CVE-2024-45193: libolm, which nobody mends any more, is no dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    for extra in project["project"].get("optional-dependencies", {}).values():
        wanted += extra
    assert wanted
    assert [one for one in wanted if "olm" in one.lower()] == []
