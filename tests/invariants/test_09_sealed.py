"""Invariant 9: content at rest is sealed, and erased at completion."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMessage
from bridge_core.api.ids import ChatId
from bridge_core.api.network import LoginStatus, Sent
from bridge_core.cli.main import main
from tests.harness import Harness
from tests.invariants.scenes import BOB, balances, files_of, receive, rows, say
from tests.scripted import Script

MARKS = {name: f"{name}-in-the-clear" for name in ("said", "heard", "file", "secret", "cursor", "saved", "command")}


def _found(bridge: Harness) -> dict[str, list[str]]:
    """In which files which marks stand."""
    files = files_of(bridge.folder)
    assert any(name.endswith(".db-wal") for name in files), "the database keeps its log elsewhere now"
    found = {name: [mark for mark in MARKS.values() if mark.encode() in data] for name, data in files.items()}
    return {name: marks for name, marks in found.items() if marks}


async def _blob(script: Script, data: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    assert script.host is not None
    return await script.host.blobs.put(chunks(), len(data))


async def test_what_waits_cannot_be_read_in_any_file(bridge: Harness, script: Script) -> None:
    """Payloads, final bodies, files, cursors, secrets and what adapters save: nowhere in the clear while it waits."""
    assert script.host is not None and script.inbox is not None
    room = await bridge.portal_room("net", "lobby")
    await receive(bridge, script, say("hello"))

    async def saves(attempt: Any) -> None:
        await attempt.save(MARKS["saved"].encode())

    attempts: list[Any] = []

    def later(message: Any, attempt: Any) -> Sent:
        attempts.append(attempt)
        return script.later(message, attempt)

    script.answer = later
    bridge.alice.send(room, MARKS["said"])
    await bridge.until(lambda: attempts)
    await saves(attempts[0])
    script.status(LoginStatus.DISCONNECTED)
    bridge.alice.send(room, MARKS["said"] + " again")
    bridge.homeserver.faults.answer(502, times=10_000, match="/send/|/upload/")
    await script.host.secrets.put("password", MARKS["secret"].encode())
    source = await _blob(script, MARKS["file"].encode() * 10_000)
    file = Attachment(MediaKind.FILE, "a.txt", source, "text/plain", len(MARKS["file"]) * 10_000)
    content = Content((Plain(MARKS["heard"]),), attachments=(file,))
    await script.inbox.receive([say(MARKS["heard"])], cursor=MARKS["cursor"].encode())
    await script.inbox.receive([RemoteMessage(ChatId("garden"), BOB, content)])
    await bridge.until(lambda: bridge.homeserver.faults.hits >= 2)
    await bridge.until(lambda: len(rows(bridge, "SELECT 1 FROM journal_delivery")) >= 3)
    assert len(rows(bridge, "SELECT 1 FROM journal_entry WHERE payload IS NOT NULL")) >= 4
    assert _found(bridge) == {}


async def test_contents_are_erased_when_they_end(bridge: Harness, script: Script) -> None:
    """Delivered, rejected or ignored: no payload, body or spooled file is left, sealed or not."""
    room = await bridge.portal_room("net", "lobby")
    source = await _blob(script, b"bytes of a file")
    file = Attachment(MediaKind.FILE, "a.txt", source, "text/plain", 15)
    await receive(
        bridge,
        script,
        say("delivered"),
        RemoteMessage(ChatId("lobby"), BOB, Content(attachments=(file,))),
        say("ignored", chat="elsewhere"),
    )

    def refuse(message: Any, attempt: Any) -> Sent:
        raise RejectedError("no")

    script.answer = refuse
    bridge.alice.send(room, "rejected")
    await balances(bridge)
    assert rows(bridge, "SELECT 1 FROM journal_entry WHERE payload IS NOT NULL OR state != 1") == []
    assert rows(bridge, "SELECT 1 FROM journal_delivery") == []
    assert [path for path in (bridge.folder / "spool").iterdir() if path.is_file()] == []


async def test_dead_letters_stay_sealed(bridge: Harness, script: Script) -> None:
    """What is kept to be replayed is kept sealed, and says why it died without saying what it was."""

    def bug(message: Any, attempt: Any) -> Sent:
        raise ValueError(message.content.text[0].text)

    script.answer = bug
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, MARKS["said"])
    assert (await balances(bridge))["net", 0].dead == 1
    assert rows(bridge, "SELECT payload IS NOT NULL, last_error FROM journal_entry WHERE state = 2") == [
        (1, "internal error, see the log")
    ]
    assert _found(bridge) == {}


async def test_the_log_holds_no_content(bridge: Harness, script: Script, log: io.StringIO) -> None:
    """Above debug the log says what happened to messages, and never what they were, nor a token."""
    room = await bridge.portal_room("net", "lobby")
    ends = iter([RejectedError("no"), None])

    def answer(message: Any, attempt: Any) -> Sent:
        error = next(ends, None)
        if error is not None:
            raise error
        return Sent()

    script.answer = answer
    bridge.alice.send(room, MARKS["said"])
    bridge.alice.send(room, MARKS["said"], format="org.matrix.custom.html", formatted_body=f"<b>{MARKS['said']}</b>")
    bridge.alice.send(room, f"!bridge {MARKS['command']}")
    bridge.homeserver.faults.answer(413, match="/send/", errcode="M_TOO_LARGE")
    await receive(bridge, script, say(MARKS["heard"]), say(MARKS["heard"]), say(MARKS["heard"], chat="elsewhere"))
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {"delivery_rejected"} <= {line["event"] for line in lines}
    told = [line for line in lines if line.get("level") != "debug"]
    secrets = [*MARKS.values(), bridge.appservice.as_token, bridge.appservice.hs_token]
    assert [line for line in told if any(secret in json.dumps(line) for secret in secrets)] == []


async def test_an_admins_view_hides_contents_until_they_are_revealed(
    bridge: Harness, script: Script, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """`journal list` and `show` tell all about a message but what it says; `--reveal` does, and is logged."""

    def bug(message: Any, attempt: Any) -> Sent:
        raise ValueError("a bug")

    script.answer = bug
    room = await bridge.portal_room("net", "lobby")
    bridge.alice.send(room, MARKS["said"])
    await balances(bridge)
    ((entry,),) = rows(bridge, "SELECT id FROM journal_entry WHERE state = 2")
    config = ["-c", str(bridge.folder / "config.yaml")]
    for command in (["list", "--state", "all"], ["list"], ["show", str(entry)]):
        assert await asyncio.to_thread(main, ["journal", *command, *config]) == 0
    shown = capsys.readouterr().out
    assert str(entry) in shown and "internal error" in shown
    assert MARKS["said"] not in shown
    assert await asyncio.to_thread(main, ["journal", "show", str(entry), "--reveal", *config]) == 0
    captured = capsys.readouterr()
    assert MARKS["said"] in captured.out
    assert "journal_content_revealed" in captured.out + captured.err + log.getvalue()
