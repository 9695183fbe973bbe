"""`matrix-bridge check` says how the keys of encrypted rooms reach the bridge, and what is missing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bridge_core.cli.checks import encryption
from bridge_core.cli.checks.encryption import Brought, check_encryption
from bridge_core.cli.checks.report import Report
from bridge_core.config import LoadedConfig, load_config
from tests.harness import write_config


@dataclass
class Reply:
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    errcode: str = ""


def _loaded(folder: Path, mode: str) -> LoadedConfig:
    path = write_config(folder, "http://hs", {"net": {"type": "echo"}}, port=1, encryption={"mode": mode})
    return load_config(path, {})


@pytest.mark.parametrize(
    ("mode", "sync", "pushed", "words"),
    [
        (
            "auto",
            200,
            {"to_device": [{}], "org.matrix.msc3202.device_one_time_keys_count": {}},
            "(appservice mode applies)",
        ),
        (
            "auto",
            200,
            {"to_device": [{}]},
            "(sync mode applies), since transactions bring none",
        ),
        ("auto", 200, {}, "may come minutes late"),
        ("auto", 200, {}, "experimental_features.msc3202_transaction_extensions"),
        ("sync", 200, {}, "(sync mode)"),
        ("sync", 500, {}, "set appservice.sender to another name"),
        ("auto", 500, {}, "experimental_features.msc2409_to_device_messages_enabled"),
        ("appservice", 200, {}, "experimental_features.msc3202_transaction_extensions"),
        ("appservice", 200, {}, "Or set encryption.mode to sync"),
        ("appservice", 200, {}, "brings nothing before something is said"),
        ("auto", 200, {}, "brings nothing before something is said"),
        ("appservice", 500, {"to_device": [{}], "de.one_time_keys_count": {}}, "keys that come during an outage"),
    ],
)
async def test_the_mode_that_applies_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, sync: int, pushed: dict[str, Any], words: str
) -> None:
    """Which way applies is said, and for what is missing the setting in the homeserver's own words."""
    monkeypatch.setattr(encryption, "_PATIENCE", 0.01)
    brought, report = Brought(), Report()

    async def ask(method: str, path: str, **more: Any) -> Reply:
        if path.startswith("account/whoami"):
            return Reply(200, {"device_id": "MATRIXBRIDGE"})
        if path.startswith("sync"):
            return Reply(sync)
        if path.startswith("sendToDevice"):
            brought.look(pushed)
        return Reply()

    await check_encryption(ask, _loaded(tmp_path, mode), brought, report)
    said = [*report.fine, *report.notes, *(str(finding) for finding in report.findings)]
    assert any(words in text for text in said), said


@pytest.mark.parametrize(
    ("mode", "sync", "words"),
    [
        ("appservice", 200, "the registration asks for no keys"),
        ("auto", 200, "(sync mode applies)"),
        ("auto", 500, "keys come neither with transactions nor by /sync"),
    ],
)
async def test_a_registration_that_asks_for_no_keys_is_not_blamed_on_synapse(
    tmp_path: Path, mode: str, sync: int, words: str
) -> None:
    """What the registration has caused is no reason to name settings of the homeserver, which may be right."""
    report, asked = Report(), list[str]()

    async def ask(method: str, path: str, **more: Any) -> Reply:
        asked.append(path)
        return Reply(sync) if path.startswith("sync") else Reply(200, {"device_id": "MATRIXBRIDGE"})

    await check_encryption(ask, _loaded(tmp_path, mode), Brought(), report, asks=False)
    said = [*report.fine, *report.notes, *(str(finding) for finding in report.findings)]
    assert any(words in text for text in said), said
    assert not any("experimental_features" in text for text in said), said
    assert not any(path.startswith("sendToDevice") for path in asked)


async def test_what_is_the_bridges_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and keys are left for the bridge, what the check sent and presence are not; then nothing is said."""
    dummy = {"type": "m.dummy", "sender": "@bridgebot:hs", "to_user_id": "@bridgebot:hs"}
    for taken in (
        {"ephemeral": [{}], "events": []},
        {"to_device": [dummy]},
        {"events": [], "to_device": [dummy, dummy]},
    ):
        assert Brought().look(taken)
    for kept in ({"events": [{}]}, {"to_device": [dummy, {**dummy, "type": "m.room_key"}]}, {"to_device": [{}]}):
        assert not Brought().look(kept)
    monkeypatch.setattr(encryption, "_PATIENCE", 0.01)
    brought, report = Brought(), Report()

    async def ask(method: str, path: str, **more: Any) -> Reply:
        if path.startswith("sendToDevice"):
            brought.look({"events": [{}]})
        return Reply(200, {"device_id": "MATRIXBRIDGE"})

    await check_encryption(ask, _loaded(tmp_path, "appservice"), brought, report)
    assert report.errors == 0
    assert any("events wait for the bridge" in text for text in report.notes)


async def test_the_bot_of_a_new_installation_is_there(tmp_path: Path) -> None:
    """Before the bridge's first start the check registers the bot, without which nothing could be tried."""
    report, there = Report(), set[str]()

    async def ask(method: str, path: str, **more: Any) -> Reply:
        if path == "register":
            there.add(more["json"]["username"])
        elif "bridgebot" not in there:
            return Reply(403, errcode="M_FORBIDDEN")
        return Reply(200, {"device_id": "MATRIXBRIDGE"})

    await check_encryption(ask, _loaded(tmp_path, "auto"), None, report)
    assert report.errors == 0
    assert any("encryption" in text for text in report.notes)


async def test_without_devices_there_is_no_encryption(tmp_path: Path) -> None:
    """A homeserver on which the bridge cannot act as a device is named as such: nothing else is asked."""
    report = Report()

    async def ask(method: str, path: str, **more: Any) -> Reply:
        return Reply(200, {"user_id": "@bridgebot:hs.test"})

    await check_encryption(ask, _loaded(tmp_path, "auto"), None, report)
    assert report.errors == 1
    assert "act as a device" in str(report.findings[0])
