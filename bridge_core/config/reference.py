"""The reference page of the configuration, generated from the models."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge_core.config.describe import allowed_words, plain_value, section_of
from bridge_core.config.environment import PREFIX
from bridge_core.config.example import scalar
from bridge_core.config.model import Config
from bridge_core.config.network import NetworkCommon, PortalEntry
from bridge_core.config.policy import PuppetServer

_HEAD = """# Configuration

Generated from the models by `python -m bridge_core.config reference`; the texts are the descriptions of
the fields. `docs/config.example.yaml` is the same as a file to start from.
"""


def render_reference() -> str:
    """docs/reference/config.md: one table per section."""
    lines = [_HEAD.rstrip(), "", *(inspect.getdoc(Config) or "").splitlines()[2:]]
    for name, field in Config.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            lines += ["", f"## {name}", "", inspect.getdoc(section) or "", *_table(section, name)]
        else:
            words = allowed_words(field)
            lines += ["", f"## {name}", "", field.description or "", "", f"Allowed: {words}."]
    lines += ["", "### Keys of every network", "", "The adapter's own keys stand beside them."]
    lines += _table(NetworkCommon, "networks.NAME")
    lines += ["", "### Keys of a portal", "", inspect.getdoc(PortalEntry) or ""]
    lines += _table(PortalEntry, "networks.NAME.portals.N")
    lines += ["", "### Keys of a server for double puppets", "", inspect.getdoc(PuppetServer) or ""]
    lines += _table(PuppetServer, "double_puppet.servers.NAME")
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel], path: str) -> Iterator[str]:
    variable = PREFIX + path.upper().replace(".", "__")
    yield from ("", f"Environment: `{variable}__KEY`.", "")
    yield "| key | default | meaning | allowed |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        words = (_default(field), field.description or "", allowed_words(field))
        yield f"| `{name}` | " + " | ".join(one.replace("|", "\\|") for one in words) + " |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default()
    return "" if isinstance(value, BaseModel) else f"`{scalar(plain_value(field, value))}`"
