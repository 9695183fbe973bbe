"""Values from the environment: MATRIX_BRIDGE__SECTION__KEY, or the same with _FILE naming a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from bridge_core.config.describe import field_at, keys_at, strip_optional
from bridge_core.config.problems import Problem
from registration.document import Key

PREFIX = "MATRIX_BRIDGE__"
_MAX_FILE = 64 * 1024  # a secret, not a data set


@dataclass(frozen=True, slots=True)
class Overridden:
    """Data with the environment's values put in, which variable set what, and what went wrong."""

    data: dict[str, Any]
    variables: Mapping[tuple[Key, ...], str]
    problems: tuple[Problem, ...]


def apply_environment(data: dict[str, Any], environment: Mapping[str, str], model: type[BaseModel]) -> Overridden:
    """Put the environment's values into a copy of `data`. Reads the files that `_FILE` variables name."""
    variables: dict[tuple[Key, ...], str] = {}
    problems: list[Problem] = []
    names = sorted(name for name in environment if name.startswith(PREFIX))
    for name in names:
        parts = name.removeprefix(PREFIX).lower().split("__")
        if not all(parts):
            problems.append(Problem(f"environment variable {name}", "", "names no key"))
            continue
        path, from_file = _resolve(data, parts, model)
        value: Any = environment[name]
        if from_file:
            try:
                value = _read(Path(value))
            except (OSError, ValueError) as error:
                words = f"{value} cannot be read: {getattr(error, 'strerror', None) or error}"
                problems.append(Problem(f"environment variable {name}", _dotted(path), words))
                continue
        else:
            value = _parsed(value, path, model)
        if path in variables:
            where = f"environment variable {name}"
            problems.append(Problem(where, _dotted(path), f"is set by {variables[path]} too"))
            continue
        try:
            data = _put(data, path, value)
        except LookupError as error:
            problems.append(Problem(f"environment variable {name}", _dotted(path), str(error.args[0])))
            continue
        variables[path] = name
    return Overridden(data, variables, tuple(problems))


def _resolve(data: Any, parts: list[str], model: type[BaseModel]) -> tuple[tuple[Key, ...], bool]:
    """The path of a variable, and whether its value is the name of a file."""
    path: list[Key] = []
    current = data
    for index, part in enumerate(parts):
        known = _known(current, model, tuple(path))
        last = index == len(parts) - 1
        if last and part not in known and part.endswith("_file"):
            inner = part.removesuffix("_file")
            return (*path, known.get(inner, inner)), True
        key: Key = int(part) if isinstance(current, list) and part.isdigit() else known.get(part, part)
        path.append(key)
        current = _get(current, key)
    return tuple(path), False


def _known(current: Any, model: type[BaseModel], path: tuple[Key, ...]) -> dict[str, str]:
    """Keys that may stand here, by the form they have in a variable (lower case, - as _)."""
    names = [*keys_at(model, path), *(current if isinstance(current, dict) else ())]
    return {str(name).lower().replace("-", "_"): str(name) for name in names}


def _get(current: Any, key: Key) -> Any:
    if isinstance(current, dict):
        return current.get(key)
    if isinstance(current, list) and isinstance(key, int) and key < len(current):
        return current[key]
    return None


def _put(current: Any, path: tuple[Key, ...], value: Any) -> Any:
    """A copy of `current` with `value` at `path`; only the containers on the way are copied."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(current, list):
        if not isinstance(key, int) or key >= len(current):
            raise LookupError(f"the list has no item {key}")
        return [*current[:key], _put(current[key], rest, value), *current[key + 1 :]]
    if current is None or isinstance(current, dict):
        return {**(current or {}), key: _put((current or {}).get(key), rest, value)}
    raise LookupError(f"{key} cannot stand in a plain value")


def _parsed(value: str, path: tuple[Key, ...], model: type[BaseModel]) -> Any:
    """Lists, mappings and null are parsed; all else stays text, which the models turn into numbers."""
    field = field_at(model, path)
    if field is not None and strip_optional(field.annotation) is str:
        return value
    if value[:1] in ("[", "{") or value == "null":
        try:
            return YAML(typ="safe", pure=False).load(value)
        except YAMLError:
            return value
    return value


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_FILE + 1)
    if len(raw) > _MAX_FILE:
        raise ValueError(f"is larger than {_MAX_FILE} bytes")
    return raw.decode("utf-8").rstrip("\r\n")


def _dotted(path: tuple[Key, ...]) -> str:
    return ".".join(str(part) for part in path)
