"""Command injection through every field a stranger fills in: arguments of all commands, answers of logins."""

import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.login import LoginStep
from tests.apicalls import SECRET, ApiClient
from tests.harness import Harness
from tests.scripted import Script, ScriptedProcess

SMUGGLED = ["a\r\nQUIT", "a\nb", "a\x00b", "a\u2028b", "\x1b[31m", "\ud800", "'; DROP TABLE portal; --", "../../x"]


@pytest.fixture(name="script")
def _script() -> Script:
    made = Script()
    made.provided = True
    return made


@pytest.fixture(name="bridge")
async def _bridge(tmp_path: Path, script: Script) -> AsyncIterator[Harness]:
    networks = {"net": {"type": "scripted", "portals": ["lobby"]}}
    async with Harness(tmp_path, networks, {"scripted": script}, api={"enabled": True, "secret": SECRET}) as harness:
        yield harness


@pytest.fixture(name="api")
def _api(bridge: Harness) -> ApiClient:
    return ApiClient(bridge.port)


def _unsafe(text: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)


async def test_no_argument_of_any_command_is_more_than_a_line(
    api: ApiClient, bridge: Harness, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2023-38690, CVE-2024-52505: whatever stands in any argument of any command, by the API or in a room, is
    refused in words or taken as one line of text; no command fails of it, and the bridge works on."""
    seen: list[str] = []
    room = await bridge.portal_room("net", "lobby")
    admin = bridge.homeserver.user("admin")
    admin.join(room)
    await bridge.settled()
    commands = bridge.running.engine.commands
    run = commands._run

    async def noted(command: Any, call: Any) -> Any:
        seen.extend(call.arguments.values())
        return await run(command, call)

    monkeypatch.setattr(commands, "_run", noted)
    described = (await api.call("GET", "/commands", SECRET, user_id=admin.id))[1]["commands"]
    called = 0
    for command in described:
        names = [one["name"] for one in command["arguments"]]
        if not [name for name in names if name != "network"]:
            continue
        for smuggled in SMUGGLED:
            arguments = {name: "net" if name == "network" else smuggled for name in names}
            raw = smuggled == "\ud800"
            body = {"arguments": arguments, "room": room}
            sent = {"raw": b'{"arguments": {"network": "\\ud800"}}'} if raw else {"body": body}
            path = f"/commands/{command['name']}"
            status, answer = await api.call("POST", path, SECRET, user_id=admin.id, **sent)  # type: ignore[arg-type]
            assert status in {200, 400, 403, 404, 409, 429}, (command["name"], smuggled, answer)
            called += 1
    assert called > 100
    admin.send(room, "!bridge portal net a\r\nQUIT")
    admin.send(room, "!bridge portal net 'a\x00b'")
    await bridge.settled()
    assert seen
    assert [text for text in seen if _unsafe(text)] == []
    stored = [row.chat for row in bridge.running.engine.portals.of_network("net")]  # type: ignore[arg-type]
    assert [chat for chat in stored if _unsafe(chat)] == []
    assert (await api.call("GET", "/whoami", SECRET, user_id=bridge.alice.id))[0] == 200


@pytest.mark.parametrize("smuggled", ["a\r\nQUIT", "a\nb", "a\x00b", "\x1b[31m", "a\u2028b"])
async def test_no_answer_of_a_login_is_more_than_a_line(
    api: ApiClient, bridge: Harness, monkeypatch: pytest.MonkeyPatch, smuggled: str
) -> None:
    """What is answered in a login holds no line break or control character when the adapter gets it, and no answer is
    given to what was not asked."""
    got: list[dict[str, str]] = []
    submit = ScriptedProcess.submit

    async def noted(self: ScriptedProcess, answers: Any) -> LoginStep:
        got.append(dict(answers))
        return await submit(self, answers)

    monkeypatch.setattr(ScriptedProcess, "submit", noted)
    user = bridge.alice.id
    begun = (await api.call("POST", "/logins/net", SECRET, {"flow": "password"}, user_id=user))[1]
    for answers in (
        {"name": smuggled, "password": "secret"},
        {"name": "me", "password": smuggled},
        {"name": "me", "password": "secret", "code": smuggled},
        {smuggled: "x", "name": "me", "password": "wrong"},
    ):
        status, _ = await api.call(
            "POST", f"/logins/net/{begun['id']}/submit", SECRET, {"answers": answers}, user_id=user
        )
        assert status in {200, 400, 409}
    assert [one for one in got if any(map(_unsafe, (*one, *one.values())))] == []
    assert all(set(one) <= {"name", "password"} or set(one) == {"code"} for one in got)
