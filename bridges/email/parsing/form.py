"""Mails as JSON between the parser's processes: the dataclasses of the model, by name, and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any, Final

from bridge_core.api import content
from bridges.email import mail
from bridges.email.codec.addresses import Address
from bridges.email.parsing.context import Context

_CLASSES: Final[Mapping[str, type]] = {
    one.__name__: one
    for one in (
        content.CodeBlock,
        content.Heading,
        content.Link,
        content.ListBlock,
        content.Paragraph,
        content.Picture,
        content.Plain,
        content.Quote,
        content.Rule,
        content.Span,
        content.Table,
        mail.Fate,
        mail.Mail,
        mail.MailFile,
        mail.MailReaction,
        mail.Report,
        Address,
        Context,
    )
}
_ENUMS: Final[Mapping[str, type[StrEnum]]] = {"Style": content.Style, "ReportKind": mail.ReportKind}
_DEEPEST: Final = 900


def dump(value: object) -> bytes:
    """The value as JSON. Raises TypeError for what is no part of the model."""
    return json.dumps(_bare(value, _DEEPEST), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def load(data: bytes) -> Any:
    """The value that was dumped. Raises ValueError for anything else."""
    try:
        return _full(json.loads(data), _DEEPEST)
    except (TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError("this is no mail of a parser") from error


def _bare(value: object, depth: int) -> Any:
    if depth < 0:
        raise TypeError("too deep")
    if isinstance(value, StrEnum):
        return {"": type(value).__name__, "value": value.value}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple):
        return [_bare(one, depth - 1) for one in value]
    name = type(value).__name__
    if _CLASSES.get(name) is not type(value):
        raise TypeError(f"{name} is no part of a mail")
    return {"": name} | {one.name: _bare(getattr(value, one.name), depth - 1) for one in fields(value)}  # type: ignore[arg-type]


def _full(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError("too deep")
    if isinstance(value, list):
        return tuple(_full(one, depth - 1) for one in value)
    if not isinstance(value, dict):
        return value
    name = value.pop("")
    if name in _ENUMS:
        return _ENUMS[name](value["value"])
    return _CLASSES[name](**{key: _full(one, depth - 1) for key, one in value.items()})
