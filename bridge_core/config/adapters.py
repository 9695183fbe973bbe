"""The installed adapters' configuration models, found through entry points."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from pydantic import BaseModel

GROUP = "matrix_bridge.networks"
_OURS = "matrix-bridge-core"


def installed_types() -> list[str]:
    """Names of all installed adapter types; imports none of them."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def adapter_models(
    types: Iterable[str],
) -> tuple[dict[str, type[BaseModel]], dict[str, str]]:
    """`(models, broken)` of the wanted types that are installed: models by type, and why one cannot be loaded."""
    wanted = set(types)
    models: dict[str, type[BaseModel]] = {}
    broken: dict[str, str] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in wanted:
            model, reason = _model(entry)
            if model is not None:
                models[entry.name] = model
            else:
                broken[entry.name] = reason
    return models, broken


def shipped_models() -> dict[str, type[BaseModel]]:
    """Models of the adapters of this distribution by type, sorted: what the reference page describes.

    Raises RuntimeError in words when one of them cannot be loaded. Adapters of others have pages of their own.
    """
    found = sorted(entry.name for entry in entry_points(group=GROUP) if entry.dist and entry.dist.name == _OURS)
    models, broken = adapter_models(found)
    if broken:
        raise RuntimeError("; ".join(broken.values()))
    return {name: models[name] for name in found}


def _model(entry: EntryPoint) -> tuple[type[BaseModel] | None, str]:
    try:
        model = getattr(entry.load(), "config_model", None)
    except Exception as error:
        return None, f"{entry.value} cannot be loaded: {error}"
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model, ""
    return None, f"{entry.value} has no config_model"
