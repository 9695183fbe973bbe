"""Adapters for the command line's tests, in place of the installed ones."""

from importlib.metadata import EntryPoint

import pytest
from pydantic import BaseModel, Field

from bridge_core.config import adapters


class _Model(BaseModel):
    server: str = Field(description="The server to connect to.", examples=["irc.example.org"])
    port: int = Field(default=6697, ge=1, le=65535, description="Its port.")


class Connector:
    """An adapter as entry points offer it."""

    config_model = _Model


@pytest.fixture(autouse=True)
def _adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """One adapter that works, `irc`, and one that cannot be imported, `broken`."""
    irc = EntryPoint("irc", "made.up:Connector", adapters.GROUP)
    broken = EntryPoint("broken", "made.up.module:Missing", adapters.GROUP)
    load = EntryPoint.load
    monkeypatch.setattr(EntryPoint, "load", lambda entry: Connector if entry is irc else load(entry))
    monkeypatch.setattr(adapters, "entry_points", lambda group: [irc, broken] if group == adapters.GROUP else [])
