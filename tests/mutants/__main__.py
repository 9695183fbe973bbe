"""Breaks the code on purpose, one patch after another, and expects the test that the patch names to go red.

``python -m tests.mutants [NAME...]`` works on copies in a temporary folder. First all named tests are run on the code
as it is, and must be green. Exit status 1 when one is not, when a mutant survives, or when a patch does not fit.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.patches import BadPatchError, Patch, load

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bridge_core", "bridges", "registration", "tests")
AT_ONCE = 2
# A test that hangs on a mutant has noticed it: it is ended, and red.
TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    patch: str
    red: bool
    seconds: float
    note: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all mutants, or those whose names begin as given."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only patches whose names begin so")
    names = parser.parse_args(arguments).names
    try:
        patches = [one for one in load() if not names or one.name.startswith(tuple(names))]
        for patch in patches:
            patch.changed(ROOT)
    except BadPatchError as error:
        _tell(error)
        return 1
    if not patches:
        _tell("there is no such patch")
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [_copy(Path(folder) / str(number)) for number in range(AT_ONCE)]
        if not _all_green(copies[0], patches):
            return 1
        return _all_red(copies, patches)


def _tell(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _copy(to: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def _pytest(copy: Path, tests: Sequence[str], timeout: float) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={TIMEOUT}", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, "ended: it hung"
    return done.returncode, done.stdout + done.stderr


def _all_green(copy: Path, patches: Sequence[Patch]) -> bool:
    tests = list(dict.fromkeys(patch.expects for patch in patches))
    _tell(f"{len(tests)} tests on the code as it is ...")
    status, output = _pytest(copy, tests, 600)
    if status != 0:
        _tell(output[-4000:])
        _tell("not green before anything is broken")
    return status == 0


def _all_red(copies: Sequence[Path], patches: Sequence[Patch]) -> int:
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)
    printing = threading.Lock()

    def one(patch: Patch) -> Verdict:
        copy = free.get()
        try:
            verdict = _mutant(copy, patch)
        finally:
            free.put(copy)
        with printing:
            end = "red" if verdict.red else f"SURVIVED {verdict.note}"
            _tell(f"{verdict.patch:<44} {verdict.seconds:5.1f} s  {end}")
        return verdict

    with ThreadPoolExecutor(len(copies)) as workers:
        verdicts = list(workers.map(one, patches))
    survived = [verdict.patch for verdict in verdicts if not verdict.red]
    _tell(f"{len(verdicts)} mutants, {len(survived)} survived{': ' if survived else ''}{', '.join(survived)}")
    return int(bool(survived))


def _mutant(copy: Path, patch: Patch) -> Verdict:
    started = time.monotonic()
    before = {path: (copy / path).read_text(encoding="utf-8") for path in patch.paths}
    try:
        for path, text in patch.changed(copy).items():
            (copy / path).write_text(text, encoding="utf-8")
        status, output = _pytest(copy, [patch.expects], TIMEOUT * 2)
    finally:
        for path, text in before.items():
            (copy / path).write_text(text, encoding="utf-8")
    # 1 is "tests failed"; everything else above 0 says that they could not be run, which shows nothing.
    note = "" if status == 1 else f"(pytest ended with {status})\n{output[-1500:] if status else ''}"
    return Verdict(patch.name, status == 1, time.monotonic() - started, note)


if __name__ == "__main__":
    sys.exit(main())
