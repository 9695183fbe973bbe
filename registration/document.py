"""One YAML file: its plain data, and on demand the line of each of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

# A configuration of 10,000 portals is below 1 MB; what is far larger is the wrong file.
MAX_BYTES = 16 * 1024 * 1024

Key = str | int


class DocumentError(Exception):
    """A file that cannot be read as one YAML mapping; `line` is None when no line is to blame."""

    def __init__(self, path: Path, line: int | None, text: str) -> None:
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")
        self.path = path
        self.line = line
        self.text = text


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed mapping and the text it came from."""

    path: Path
    text: str
    data: dict[str, Any]

    def lines(self, paths: Sequence[tuple[Key, ...]]) -> list[int | None]:
        """The 1-based line of each path, or of the nearest parent that exists.

        Parses the text again, so it is called only once there is something to report.
        """
        root = YAML(typ="safe", pure=False).compose(self.text)
        return [_line(root, path) for path in paths]


def read_document(path: Path, *, max_bytes: int = MAX_BYTES) -> Document:
    """Read a YAML mapping of at most `max_bytes`; raises `DocumentError`. Blocks on the disk."""
    try:
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise DocumentError(path, None, f"cannot be read: {error.strerror or error}") from error
    if len(raw) > max_bytes:
        raise DocumentError(path, None, f"is larger than {max_bytes} bytes, which no such file needs")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DocumentError(path, line, "is not UTF-8 text") from error
    return parse_document(path, text)


def parse_document(path: Path, text: str) -> Document:
    """Parse `text` as a YAML mapping; `path` only names it in errors."""
    try:
        data = YAML(typ="safe", pure=False).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = str(error.problem or error.context or "is not valid YAML").split("\n", 1)[0]
        raise DocumentError(path, mark.line + 1 if mark else None, f"is not valid YAML: {words}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        words = str(error).split("\n", 1)[0]
        raise DocumentError(path, None, f"is not valid YAML: {words}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise DocumentError(path, 1, "must be a mapping of keys to values")
    return Document(path, text, data)


def _line(root: Any, path: tuple[Key, ...]) -> int | None:
    node, line = root, None
    for key in path:
        step = _child(node, key)
        if step is None:
            break
        node, line = step
    return line


def _child(node: Any, key: Key) -> tuple[Any, int] | None:
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return None
    if node.id == "sequence":
        if isinstance(key, int) and key < len(value):
            return value[key], value[key].start_mark.line + 1
        return None
    for name, child in value:
        if name.value == str(key):
            return child, name.start_mark.line + 1
    return None
