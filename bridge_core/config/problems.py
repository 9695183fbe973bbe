"""A mistake in the configuration, said so that an administrator can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge_core.config.describe import allowed_words, field_at, keys_at
from registration.document import Document, Key


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what would be right."""

    where: str
    key: str
    text: str
    allowed: str = ""

    def __str__(self) -> str:
        allowed = f" Allowed: {self.allowed}." if self.allowed else ""
        return f"{self.where}: {self.key + ': ' if self.key else ''}{self.text}.{allowed}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all its mistakes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


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
        other_keys: Iterable[str] = (),
    ) -> list[Problem]:
        """Each of pydantic's errors as a problem with its place; `prefix` is where `model` sits.

        `other_keys` are keys valid beside the model's own, offered when one is misspelt.
        """
        details = error.errors(include_url=False)
        paths = [(*prefix, *_path(one)) for one in details]
        return [
            _problem(one, place, path, model, prefix, other_keys)
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
    other_keys: Iterable[str],
) -> Problem:
    inner = path[len(prefix) :]
    key = ".".join(str(part) for part in path)
    kind = error["type"]
    if kind == "extra_forbidden":
        siblings = [*keys_at(model, inner[:-1]), *(other_keys if len(inner) == 1 else ())]
        return Problem(place, key, "unknown key" + _did_you_mean(str(inner[-1]), siblings))
    allowed = allowed_words(field_at(model, inner)) if inner else ""
    if "[key]" in error["loc"]:
        return Problem(place, key, "is not allowed as a key here", _key_words(error))
    if kind == "missing":
        return Problem(place, key, "is missing", allowed)
    if kind == "value_error":
        return Problem(place, key, error["msg"].removeprefix("Value error, "), allowed)
    return Problem(place, key, _words(error), allowed)


def _key_words(error: ErrorDetails) -> str:
    context = error.get("ctx") or {}
    return str(context.get("pattern") or error["msg"].removeprefix("Value error, "))


def _words(error: ErrorDetails) -> str:
    value, message = error.get("input"), error["msg"]
    shown = ""
    if isinstance(value, bool):
        shown = f"{str(value).lower()} "
    elif isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 60):
        shown = f"{value!r} "
    elif value is None:
        shown = "null "
    elif isinstance(value, dict):
        shown = "a mapping "
    elif isinstance(value, list):
        shown = "a list "
    return f"{shown}is wrong ({message[:1].lower()}{message[1:]})"


def _did_you_mean(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f", did you mean {near[0]}?"
    return f"; known here are {', '.join(sorted(known))}" if known else ""


def hide(value: Any) -> str:
    """A stand-in for a value that must not be shown."""
    return f"({len(str(value))} characters)"
