"""A mistake in the configuration, said so that an administrator can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge_core.config.describe import allowed_words, field_at, is_secret, key_words, keys_at
from registration.document import Document, Key


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what would be right."""

    where: str
    key: str
    text: str
    allowed: str = ""

    def __str__(self) -> str:
        text = f"{self.key}: {self.text}" if self.key else self.text
        if not text.endswith(("?", ".")):
            text += "."
        return f"{self.where}: {text}" + (f" Allowed: {self.allowed}." if self.allowed else "")

    @property
    def order(self) -> tuple[bool, int]:
        """Sorts problems by their line; those without one come last."""
        line = self.where.rpartition(":")[2]
        return (False, int(line)) if line.isdigit() else (True, 0)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all its mistakes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.order))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values came from: the file, and for each overridden path its environment variable."""

    document: Document
    overrides: Mapping[tuple[Key, ...], str]

    def problems(
        self,
        error: ValidationError,
        model: type[BaseModel],
        prefix: tuple[Key, ...] = (),
    ) -> list[Problem]:
        """Each of pydantic's errors as a problem with its place; `prefix` is where `model` sits."""
        details = error.errors(include_url=False)
        paths = [(*prefix, *_path(one)) for one in details]
        return [
            _problem(one, place, path, model, prefix)
            for one, place, path in zip(details, self.places(paths), paths, strict=True)
        ]

    def places(self, paths: Sequence[tuple[Key, ...]]) -> list[str]:
        """`file:line` of each path, or the environment variable that set it."""
        lines = self.document.lines(paths)
        return [
            self._variable(path) or (f"{self.document.path}:{line}" if line else str(self.document.path))
            for path, line in zip(paths, lines, strict=True)
        ]

    def _variable(self, path: tuple[Key, ...]) -> str | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self.overrides:
                return f"environment variable {self.overrides[path[:length]]}"
        return None


def _path(error: ErrorDetails) -> tuple[Key, ...]:
    return tuple(part for part in error["loc"] if part != "[key]")


def _problem(
    error: ErrorDetails,
    place: str,
    path: tuple[Key, ...],
    model: type[BaseModel],
    prefix: tuple[Key, ...],
) -> Problem:
    inner = path[len(prefix) :]
    key = ".".join(str(part) for part in path)
    kind = error["type"]
    if kind == "extra_forbidden":
        return unknown_key(place, path, keys_at(model, inner[:-1]))
    field = field_at(model, inner) if inner else None
    if "[key]" in error["loc"]:
        return Problem(place, key, "is not allowed as a key here", key_words(field_at(model, inner[:-1])))
    allowed = allowed_words(field)
    if kind == "missing":
        return Problem(place, key, "is missing", allowed)
    if kind == "value_error":
        # That a section is a mapping is no help to who has written one.
        said = error["msg"].removeprefix("Value error, ")
        return Problem(place, key, said, "" if allowed == "a mapping" else allowed)
    if kind == "model_type":
        allowed = "a mapping"
    shown = "" if field is not None and is_secret(field) else _shown(error.get("input"))
    words = "is not allowed" if allowed else f"is wrong ({error['msg'][:1].lower()}{error['msg'][1:]})"
    if kind in ("list_type", "tuple_type") and shown and isinstance(error.get("input"), str):
        allowed += f", such as [{error['input']}]"
    return Problem(place, key, shown + words, allowed)


def _shown(value: Any) -> str:
    """The wrong value, when it is short and plain."""
    if value is None or isinstance(value, bool):
        return f"{'null' if value is None else str(value).lower()} "
    if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 60):
        return f"{value!r} "
    return "a mapping " if isinstance(value, dict) else "a list " if isinstance(value, list) else ""


def unknown_key(place: str, path: tuple[Key, ...], known: Sequence[str]) -> Problem:
    """A key that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    hint = f", did you mean {near[0]}?" if near else ""
    allowed = ", ".join(sorted(known)) if known and not near else ""
    return Problem(place, ".".join(str(part) for part in path), "unknown key" + hint, allowed)
