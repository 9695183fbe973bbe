"""The reference page of the configuration, generated from the models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge_core.config.describe import allowed_words, item_section, plain_value, section_of
from bridge_core.config.environment import PREFIX
from bridge_core.config.example import scalar
from bridge_core.config.model import Config
from bridge_core.config.network import NetworkCommon, PortalEntry
from bridge_core.config.policy import PuppetServer

_HEAD = """# Configuration

Generated from the models by `python -m bridge_core.config reference`; the texts are the descriptions of
the fields. `docs/config.example.yaml` is the same as a file to start from, without the keys of single networks.
"""
_PATTERN = re.compile(r"matching (.+?)(\)(?:$|, or null|\)| to ))")
_FURTHER = """Beside the [keys of every network](#keys-of-every-network), in a network's section with `type: {}`."""


def render_reference(adapters: Mapping[str, type[BaseModel]]) -> str:
    """docs/reference/config.md: one table per section; `adapters` are the models of networks by their type."""
    lines = [_HEAD.rstrip(), "", *(inspect.getdoc(Config) or "").splitlines()[2:]]
    for name, field in Config.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            lines += ["", f"## {name}", "", inspect.getdoc(section) or "", *_table(section, name)]
        else:
            words = allowed_words(field)
            lines += ["", f"## {name}", "", field.description or "", "", f"Allowed: {words}."]
    lines += ["", "### Keys of every network", "", "The keys of the network's type stand beside them, see below."]
    lines += _table(NetworkCommon, "networks.NAME")
    lines += ["", "### Keys of a portal", "", inspect.getdoc(PortalEntry) or ""]
    lines += _table(PortalEntry, "networks.NAME.portals.N")
    lines += ["", "### Keys of a server for double puppets", "", inspect.getdoc(PuppetServer) or ""]
    lines += _table(PuppetServer, "double_puppet.servers.NAME")
    for kind, model in adapters.items():
        lines += ["", f"## Networks of type {kind}", "", _about(model), "", _FURTHER.format(kind)]
        lines += _table(model, "networks.NAME")
        lines += _nested(model, kind, "", "networks.NAME")
    return "\n".join(lines) + "\n"


def _nested(model: type[BaseModel], kind: str, prefix: str, path: str | None) -> Iterator[str]:
    """The sections within an adapter's section, and those within these. Entries by free names have no variable."""
    for name, field in _fields(model):
        inner, items = section_of(field.annotation), item_section(field.annotation)
        section = inner or items
        if section is None:
            continue
        dotted = f"{prefix}{name}"
        below = f"{path}.{name}" if path is not None and inner is not None else None
        what = "" if inner is not None else " (each entry)"
        yield from ("", f"### {kind}: {dotted}{what}", "", field.description or "")
        yield from _table(section, below)
        yield from _nested(section, kind, f"{dotted}.", below)


def _about(model: type[BaseModel]) -> str:
    return " ".join((inspect.getdoc(model) or "").split())


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _table(model: type[BaseModel], path: str | None) -> Iterator[str]:
    if path is not None:
        variable = PREFIX + path.upper().replace(".", "__")
        yield from ("", f"Environment: `{variable}__KEY`.")
    yield ""
    yield "| key | default | meaning | allowed |"
    yield "|---|---|---|---|"
    for name, field in _fields(model):
        # A pattern as code: its brackets are no link.
        allowed = _PATTERN.sub(_code, allowed_words(field))
        words = (_default(field), field.description or "", allowed)
        yield f"| `{name}` | " + " | ".join(one.replace("|", "\\|") for one in words) + " |"


def _code(found: re.Match[str]) -> str:
    fence = "``" if "`" in found[1] else "`"
    return f"matching {fence}{found[1]}{fence}{found[2]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if isinstance(value, BaseModel) else f"`{scalar(plain_value(field, value))}`"
