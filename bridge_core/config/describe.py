"""Models in words: what a field allows, which keys a section has. For messages, example and reference."""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge_core.config.types import Listen, Words, format_duration, format_size, parse_duration, parse_size
from registration.document import Key


def strip_optional(annotation: Any) -> Any:
    """The type without `| None` and without `Annotated`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            rest = [one for one in get_args(annotation) if one is not type(None)]
            if len(rest) != 1:
                return annotation
            annotation = rest[0]
        else:
            return annotation


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model behind an annotation, when it is one."""
    inner = strip_optional(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def item_section(annotation: Any) -> type[BaseModel] | None:
    """The model of a list's or mapping's items, when they are models."""
    inner = strip_optional(annotation)
    arguments = [one for one in get_args(inner) if one is not Ellipsis]
    return section_of(arguments[-1]) if get_origin(inner) in (list, dict, tuple) and arguments else None


def field_at(model: type[BaseModel], path: tuple[Key, ...]) -> FieldInfo | None:
    """The field a path leads to, lists and nested sections included; None when there is none."""
    found: FieldInfo | None = None
    current: type[BaseModel] | None = model
    for part in path:
        if current is not None:
            found = _fields(current).get(str(part))
            if found is None:
                return None
            current = section_of(found.annotation)
        elif found is not None:
            current = item_section(found.annotation)
            if current is None:
                return _item_field(found) if part == path[-1] else None
            found = None
    return found


def _item_field(field: FieldInfo) -> FieldInfo | None:
    arguments = get_args(strip_optional(field.annotation))
    return FieldInfo.from_annotation(arguments[-1]) if arguments else None


def keys_at(model: type[BaseModel], path: tuple[Key, ...]) -> list[str]:
    """The keys of the section a path leads to; none when it is not a section."""
    current: type[BaseModel] | None = model
    pending: FieldInfo | None = None
    for part in path:
        if current is not None:
            pending = _fields(current).get(str(part))
            if pending is None:
                return []
            current = section_of(pending.annotation)
        elif pending is not None:
            current = item_section(pending.annotation)
    return list(_fields(current)) if current else []


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def allowed_words(field: FieldInfo | None) -> str:
    """What may stand in a field, in words; empty when there is nothing useful to say."""
    if field is None:
        return ""
    words = _words(field.annotation, tuple(field.metadata))
    return f"{words}, or null" if words and type(None) in get_args(field.annotation) else words


def key_words(field: FieldInfo | None) -> str:
    """What may stand as a key of a mapping, in words."""
    arguments = get_args(strip_optional(field.annotation)) if field is not None else ()
    return _words(arguments[0], ()) if len(arguments) == 2 else ""


def is_secret(field: FieldInfo) -> bool:
    """Whether the field's value must never be shown."""
    return strip_optional(field.annotation) is SecretStr


def _words(annotation: Any, metadata: tuple[Any, ...]) -> str:
    metadata = (*metadata, *_metadata(annotation))
    inner = strip_optional(annotation)
    for one in metadata:
        if isinstance(one, Words):
            return one.text + _bounds(metadata, one.text)
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in arguments)
    if origin in (list, tuple):
        return f"a list, each item {_words(arguments[0], ()) or 'a value'}"
    if origin is dict:
        keys, values = (_words(one, ()) or "anything" for one in arguments)
        return f"a mapping of {keys} to {values}"
    if isinstance(inner, type):
        if issubclass(inner, Enum):
            return "one of " + ", ".join(str(one.value) for one in inner)
        if issubclass(inner, BaseModel):
            return "a mapping"
        plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", SecretStr: "a text"}
        return plain[inner] + _bounds(metadata, "") if inner in plain else ""
    return ""


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        for one in get_args(annotation)[1:]:
            yield from one.metadata if isinstance(one, FieldInfo) else (one,)
        yield from _metadata(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _metadata(one)


def _bounds(metadata: tuple[Any, ...], words: str) -> str:
    def show(value: Any) -> str:
        if "duration" in words:
            return format_duration(value)
        return format_size(value) if "size" in words else str(value)

    found: dict[str, Any] = {}
    for one in metadata:
        for bound in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
            value = getattr(one, bound, None)
            if value is not None:
                found[bound] = value
    parts = []
    for bound, text in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if bound in found and not (bound == "ge" and found[bound] == 0):
            parts.append(f"{text} {show(found[bound])}")
    if "max_length" in found:
        parts.append(f"at most {found['max_length']} characters")
    if "pattern" in found and not words:
        parts.append(f"matching {found['pattern']}")
    return f" ({', '.join(parts)})" if parts else ""


def plain_value(field: FieldInfo, value: Any) -> Any:
    """A field's value as an administrator would write it: 604800 -> `7d`, enumerations as their text."""
    validators = {getattr(one, "func", None) for one in (*field.metadata, *_metadata(field.annotation))}
    if isinstance(value, bool) or value is None:
        return value
    if parse_duration in validators and isinstance(value, int | float):
        return format_duration(value)
    if parse_size in validators and isinstance(value, int):
        return format_size(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Listen):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {one.alias or key: plain_value(one, getattr(value, key)) for key, one in fields.items()}
    if isinstance(value, list | tuple) and any(isinstance(one, BaseModel) for one in value):
        return [plain_value(field, one) for one in value]
    if isinstance(value, dict):
        return {key: one.value if isinstance(one, Enum) else one for key, one in value.items()}
    return value
