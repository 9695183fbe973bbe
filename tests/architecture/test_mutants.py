"""The mutants of tests/mutants fit the code and name tests that exist; running them is `./test --mutants`."""

import ast

import pytest

from tests.architecture.source import ROOT
from tests.mutants.patches import BadPatchError, Patch, load

PATCHES = load()


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_patch_fits_and_names_a_test(patch: Patch) -> None:
    """It applies to exactly one place, leaves Python, and the test it expects to go red exists."""
    for path, text in patch.changed(ROOT).items():
        ast.parse(text, path)
    file, _, name = patch.expects.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.partition("[")[0] in tests


def test_every_invariant_has_mutants() -> None:
    """Invariants 1 to 10 have each been broken on purpose."""
    assert {patch.name[:2] for patch in PATCHES} - {"cv"} == {f"{number:02}" for number in range(1, 11)}


def test_a_patch_that_fits_nowhere_is_told() -> None:
    """When code moves on, its patch fails here and not in silence."""
    moved = Patch("01-x", "t", (type(PATCHES[0].hunks[0])("bridge_core/api/ids.py", "no such line\n", ""),))
    with pytest.raises(BadPatchError):
        moved.changed(ROOT)
