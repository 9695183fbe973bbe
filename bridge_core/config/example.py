"""The commented config.yaml, generated from the models."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bridge_core.config.describe import allowed_words, plain_value, section_of
from bridge_core.config.model import Config
from bridge_core.config.network import NetworkCommon

_WIDTH = 100
# Text that YAML reads back as the same text without quotes.
_PLAIN = re.compile(r"[A-Za-z/_.][A-Za-z0-9/_.@+-]*(:[A-Za-z0-9/_.@+-]+)*")
_OBVIOUS = ("a text", "a text, or null", "true or false")
_WORDS = re.compile(r"(?i)true|false|null|yes|no|on|off|[.+-]?(inf|nan)|[0-9.].*|~")

_MEASURE = re.compile(r"[0-9]+(ms|[smhd]| [KMG]iB)")

EXAMPLE: Mapping[str, Any] = {
    "homeserver": {"address": "http://127.0.0.1:8008", "domain": "example.org"},
    "journal": {"secret": "REPLACE-ME-matrix-bridge-init-does-this"},
    "permissions": {"local": "user", "@you:example.org": "admin"},
    "networks": {"echo": {"type": "echo", "portals": [{"chat": "welcome"}]}},
}
"""What the committed example sets; everything else is shown commented out, with its default."""


def render_config(values: Mapping[str, Any] = EXAMPLE, adapters: Mapping[str, type[BaseModel]] | None = None) -> str:
    """config.yaml with `values` set and every other key as a comment with its default.

    `adapters` are the models of the adapter types, so that their keys are documented as well. Keys of
    `values` that no model knows are written too, so that nothing an administrator gave is lost.
    """
    lines = list(_comment(inspect.getdoc(Config) or "", 0))
    for name, field in Config.model_fields.items():
        lines.append("")
        section = section_of(field.annotation)
        if section is not None:
            lines += _comment(inspect.getdoc(section) or "", 0)
            lines.append(f"{name}:")
            lines += _keys(section, values.get(name) or {}, 1)
        elif name == "networks":
            lines += _comment(field.description or "", 0)
            lines.append(f"{name}:")
            for network, own in (values.get(name) or {}).items():
                lines.append(f"  {network}:")
                lines += _network(own, adapters or {})
        else:
            lines += _key(name, field, values, 0)
    for name in values.keys() - Config.model_fields.keys():
        lines += ["", *_value(name, values[name], 0, "")]
    return "\n".join(lines) + "\n"


def _network(own: Mapping[str, Any], adapters: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    yield from _keys(NetworkCommon, {key: own[key] for key in NetworkCommon.model_fields if key in own}, 2)
    model = adapters.get(str(own.get("type")))
    rest = {key: value for key, value in own.items() if key not in NetworkCommon.model_fields}
    if model is not None:
        yield from _keys(model, rest, 2)
        return
    for key, value in rest.items():
        yield from _value(key, value, 2, "")


def _keys(model: type[BaseModel], values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _key(field.alias or name, field, values, depth)
    for name in values.keys() - {field.alias or name for name, field in model.model_fields.items()}:
        yield from _value(name, values[name], depth, "")


def _key(name: str, field: FieldInfo, values: Mapping[str, Any], depth: int) -> Iterator[str]:
    yield from _comment(field.description or "", depth)
    allowed = allowed_words(field)
    if allowed and allowed not in _OBVIOUS:
        yield from _comment(f"Allowed: {allowed}.", depth)
    if name in values:
        yield from _value(name, values[name], depth, "")
        return
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        default = field.examples[0] if field.examples else None
    yield from _value(name, _plain(field, default), depth, "#")


def _plain(field: FieldInfo, default: Any) -> Any:
    if isinstance(default, BaseModel):
        fields = type(default).model_fields
        return {key: _plain(fields[key], getattr(default, key)) for key in fields}
    return plain_value(field, default)


def _value(name: str, value: Any, depth: int, mark: str) -> Iterator[str]:
    """`key: value` lines; `mark` is put before each where the key is commented out."""
    indent = "  " * depth
    if isinstance(value, Mapping) and value:
        yield f"{indent}{mark}{scalar(name)}:"
        for key, one in value.items():
            yield from _value(key, one, depth + 1, mark)
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        yield f"{indent}{mark}{scalar(name)}:"
        for one in value:
            yield f"{indent}  {mark}- {scalar(one)}"
    else:
        yield f"{indent}{mark}{scalar(name)}: {scalar(value)}"


def scalar(value: Any, *, flow: bool = False) -> str:
    """A value on one line of YAML, quoted only where needed; `flow` inside brackets."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        inner = (f"{scalar(key, flow=True)}: {scalar(one, flow=True)}" for key, one in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(one, flow=True) for one in value) + "]"
    text = str(value)
    plain = _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text)
    if flow and ":" in text:
        plain = False  # libyaml follows YAML 1.1, where brackets forbid a plain a:b
    if plain or _MEASURE.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for paragraph in text.split("\n\n"):
        for part in textwrap.wrap(paragraph, _WIDTH, break_on_hyphens=False, break_long_words=False):
            yield f"{indent}# {part}"
