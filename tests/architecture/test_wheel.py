"""The built wheel works, not only the source tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, modules, name_of

pytestmark = pytest.mark.slow

# Run with the unpacked wheel in front of everything else.
PROBE = """
import email.message, importlib, pathlib, sys
here = pathlib.Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    path = pathlib.Path(importlib.import_module(name).__file__).resolve()
    assert here in path.parents, f"{name} came from {path}"
assert here not in pathlib.Path(email.message.__file__).resolve().parents
"""


def _run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_holds_everything_and_shadows_nothing(tmp_path: Path) -> None:
    """The wheel holds every module, the type marker and Synapse's lock, no tests, and leaves `email` alone."""
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    wheels = tmp_path / "wheels"
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), ".", cwd=source)
    (wheel,) = wheels.glob("*.whl")

    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    wanted = {name_of(path) for path in modules()} | {"bridge_core/py.typed", "bridge_core/demo/synapse.lock"}
    assert wanted - held == set()
    assert [name for name in held if name.startswith(("tests/", "benchmarks/"))] == []
    (entry_points,) = (tmp_path / "unpacked").glob("*.dist-info/entry_points.txt")
    assert "matrix-bridge = bridge_core.cli.main:main" in entry_points.read_text()

    probe = tmp_path / "probe.py"
    probe.write_text(f"import sys\nsys.path.insert(0, sys.argv[1])\n{PROBE}")
    packages = ["bridge_core", "bridges", "registration", "bridges.irc", "bridge_core.api"]
    _run(sys.executable, str(probe), str(tmp_path / "unpacked"), *packages, cwd=tmp_path)
