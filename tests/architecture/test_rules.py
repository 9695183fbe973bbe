"""Rules of the code that no linter checks, read from the syntax trees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, modules, name_of

# The only place that may start a task: it keeps it, names it, and reports its failure.
TASK_MODULE = "bridge_core/observe/tasks.py"
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"}
# Put together here so that this file does not break its own rule.
MACHINE_PATHS = re.compile(r"(?<![\w.:/-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", r"home/[a-z]\w*"]) + r")/")
TEXTS = ("*.py", "*.sh", "*.md", "*.toml", "*.yaml", "*.yml", "*.json", "*.conf", "*.service", "*.patch")


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in modules():
        yield name_of(path), ast.parse(path.read_text(encoding="utf-8"))


def _prints(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def _task_starts(tree: ast.Module) -> list[int]:
    """Lines that start a task nobody owns: `asyncio.create_task`, `ensure_future`, or a loop's `create_task`.

    A TaskGroup's own `create_task` is fine: leaving the group waits for it or cancels it.
    """
    return _calls_starting_tasks(tree, frozenset())


def _unkept_task_starts(tree: ast.Module) -> list[int]:
    """The same for demos, which stand alone: a task kept in an attribute has an owner there."""
    kept = {
        id(node.value.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and all(isinstance(target, ast.Attribute) for target in node.targets)
    }
    return _calls_starting_tasks(tree, frozenset(kept))


def _calls_starting_tasks(tree: ast.Module, kept: frozenset[int]) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            found += [node.lineno for alias in node.names if alias.name in ("create_task", "ensure_future")]
        if not isinstance(node, ast.Attribute) or node.attr not in ("create_task", "ensure_future") or id(node) in kept:
            continue
        owner = ast.unparse(node.value)
        if owner == "asyncio" or "loop" in owner.lower():
            found.append(node.lineno)
    return found


def _is_mutable(value: ast.expr | None) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name in MUTABLE_CALLS
        case _:
            return False


def _module_state(tree: ast.Module) -> list[str]:
    """Names that hold a mutable container at module level; constants (upper case, Final) are trusted."""
    found: list[str] = []
    for node in tree.body:
        match node:
            case ast.Assign(targets=targets, value=value) if _is_mutable(value):
                names = [ast.unparse(target) for target in targets]
            case ast.AnnAssign(target=target, annotation=annotation, value=value) if _is_mutable(value):
                names = [] if "Final" in ast.unparse(annotation) else [ast.unparse(target)]
            case _:
                continue
        found += [name for name in names if name != "__all__" and not name.lstrip("_").isupper()]
    found += [f"global {', '.join(n.names)}" for n in ast.walk(tree) if isinstance(n, ast.Global)]
    return found


def _may_print(name: str) -> bool:
    parts = name.split("/")
    adapters_tool = parts[0] == "bridges" and "tools" in parts
    return parts[-1] == "__main__.py" or "demo" in parts or adapters_tool or parts[:2] == ["bridge_core", "cli"]


def test_only_commands_and_demos_print() -> None:
    """Nothing but the command line and the demos writes to standard output: the rest logs."""
    found = {name: lines for name, tree in _trees() if not _may_print(name) and (lines := _prints(tree))}
    assert not found, f"log instead of printing: {found}"


def test_every_task_has_an_owner() -> None:
    """Tasks start in one tracked place or in a TaskGroup, so that each is awaited or cancelled."""
    found = {}
    for name, tree in _trees():
        lines = _unkept_task_starts(tree) if "demo" in name.split("/") else _task_starts(tree)
        if lines and name != TASK_MODULE:
            found[name] = lines
    assert not found, f"use {TASK_MODULE} or a TaskGroup: {found}"


def test_modules_hold_no_state() -> None:
    """No module keeps a mutable container or rebinds a global: two bridges fit into one process."""
    found = {name: names for name, tree in _trees() if (names := _module_state(tree))}
    assert not found, f"move this state into an object (or make it a tuple, frozenset, upper-case table): {found}"


@pytest.mark.parametrize(
    ("finder", "bad", "good"),
    [
        (_prints, "print(1)", "log.info('printed')"),
        (_task_starts, "import asyncio\nasyncio.create_task(f())", "async with g() as group:\n group.create_task(f())"),
        (_task_starts, "from asyncio import ensure_future", "from asyncio import gather"),
        (_task_starts, "asyncio.get_running_loop().create_task(f())", "x.create(f())"),
        (_unkept_task_starts, "asyncio.create_task(f())", "self._task = asyncio.create_task(f())"),
        (_module_state, "seen = set()", "SEEN = {1, 2}"),
        (_module_state, "cache: dict[str, int] = {}", "cache: Final[dict[str, int]] = {}"),
        (_module_state, "def f():\n global x\n x = 1", "def f():\n x = {}"),
    ],
)
def test_the_rules_find_what_they_are_for(finder, bad, good) -> None:  # type: ignore[no-untyped-def]
    """Each rule reports code that breaks it and passes code that only looks alike."""
    if "async with" in good:
        good = "async def f():\n " + good.replace("\n", "\n ")
    assert finder(ast.parse(bad))
    assert not finder(ast.parse(good))


def test_nothing_names_a_machine() -> None:
    """No file that is shipped or committed holds a path of the machine it was written on."""
    folders = [*PACKAGES, "benchmarks", "tests", "scripts", "deploy", "docs", ".ci"]
    files = [path for folder in folders for pattern in TEXTS for path in (ROOT / folder).rglob(pattern)]
    files += [path for pattern in TEXTS for path in ROOT.glob(pattern)]
    files += [ROOT / "run", ROOT / "test", ROOT / ".ci" / "run", ROOT / "scripts" / "lock"]
    found = {
        name_of(path): match.group()
        for path in files
        if path.is_file() and (match := MACHINE_PATHS.search(path.read_text(encoding="utf-8")))
    }
    assert not found, f"these paths exist on one machine only: {found}"


def test_locks_name_packages_and_digests_only() -> None:
    """Every line of a lock is a pinned package or a digest, never an address."""
    for lock in ("requirements.lock", "requirements-dev.lock", "bridge_core/demo/synapse.lock"):
        text = (ROOT / lock).read_text()
        assert "--hash=sha256:" in text
        wrong = [
            line
            for line in text.splitlines()
            if not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?|[a-z0-9._-]+==\S+( ; [^/]+)? \\", line)
        ]
        assert not wrong, f"{lock}: {wrong}"


def test_runtime_lock_is_part_of_the_development_lock() -> None:
    """What is tested is what is run: every runtime pin, digests included, is in the development lock."""
    runtime = (ROOT / "requirements.lock").read_text().splitlines()
    tested = set((ROOT / "requirements-dev.lock").read_text().splitlines())
    assert [line for line in runtime if line not in tested and line.rstrip(" \\") not in tested] == []


def test_bridges_is_a_package() -> None:
    """`bridges/__init__.py` exists: without it `bridges/email` can shadow the standard library's `email`."""
    assert (ROOT / "bridges" / "__init__.py").is_file()
    folders = {path.parent for path in modules()}
    assert [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_scripts_are_executable_posix_shell() -> None:
    """The commands of the README can be run as they are, by any POSIX shell."""
    for script in ("run", "test", "scripts/lock", "scripts/install-stopped"):
        path: Path = ROOT / script
        assert path.stat().st_mode & 0o111, f"{script} is not executable"
        assert path.read_text().startswith("#!/bin/sh\n")
