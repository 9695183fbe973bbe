"""Patches: small mutations of the product, each with the test that must notice it."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "BadPatchError", "Patch", "load"]

FOLDER = Path(__file__).resolve().parent
_EXPECTS = re.compile(r"# expects: (\S+)")
_NAME = re.compile(r"(0[1-9]|10|cve)-[a-z0-9-]+\.patch")


class BadPatchError(Exception):
    """A patch is malformed, or fits nowhere, or in two places."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines of one file that are replaced. Line numbers do not count: the lines themselves say where."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Patch:
    """One mutation. `expects` is the id of the test that must go red; `hunks` are what changes."""

    name: str
    expects: str
    hunks: tuple[Hunk, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it changes."""
        return tuple(dict.fromkeys(hunk.path for hunk in self.hunks))

    def changed(self, root: Path) -> dict[str, str]:
        """The files as they become, by path. Raises BadPatchError when a hunk does not fit exactly one place."""
        texts: dict[str, str] = {}
        for hunk in self.hunks:
            if hunk.path not in texts:
                if not (root / hunk.path).is_file():
                    raise BadPatchError(f"{self.name}: there is no {hunk.path}")
                texts[hunk.path] = (root / hunk.path).read_text(encoding="utf-8")
            found = texts[hunk.path].count(hunk.old)
            if found != 1:
                raise BadPatchError(f"{self.name}: fits {found} places of {hunk.path}: {hunk.old.strip()[:60]!r}")
            texts[hunk.path] = texts[hunk.path].replace(hunk.old, hunk.new)
        return texts


def load(folder: Path = FOLDER) -> list[Patch]:
    """All patches, by name. Raises BadPatchError."""
    return [_read(path) for path in sorted(folder.glob("*.patch"))]


def _read(path: Path) -> Patch:
    lines = path.read_text(encoding="utf-8").split("\n")
    expects = _EXPECTS.fullmatch(lines[0])
    if expects is None or not _NAME.fullmatch(path.name):
        raise BadPatchError(f"{path.name}: its name is NN-what.patch and its first line `# expects: TEST`")
    hunks: list[Hunk] = []
    target, old, new = "", "", ""

    def finish() -> None:
        nonlocal old, new
        if old or new:
            if not old or old == new or not target:
                raise BadPatchError(f"{path.name}: a hunk changes nothing that is there")
            hunks.append(Hunk(target, old, new))
        old = new = ""

    for line in lines[1:]:
        if line.startswith(("--- ", "+++ ", "@@ ", "# ")):
            finish()
            if line.startswith("+++ b/"):
                target = line.removeprefix("+++ b/")
        elif line.startswith("-"):
            old += line[1:] + "\n"
        elif line.startswith("+"):
            new += line[1:] + "\n"
        elif line.startswith(" "):
            old += line[1:] + "\n"
            new += line[1:] + "\n"
        elif line:
            raise BadPatchError(f"{path.name}: not a line of a unified diff: {line[:60]!r}")
    finish()
    if not hunks:
        raise BadPatchError(f"{path.name}: changes nothing")
    return Patch(path.stem, expects[1], tuple(hunks))
