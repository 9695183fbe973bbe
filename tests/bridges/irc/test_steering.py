"""What people of Matrix set on IRC: topics and reasons are text, and never a command."""

import pytest

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.events import Membership
from bridge_core.api.ids import ChatId, EventId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixInfo, MatrixMember, MatrixSender
from bridges.irc.demo.options import Verdict
from tests.bridges.irc.rig import FakeAttempt, StartRig, StartServer, confirmed

INJECTION = "x\r\nQUIT :gone\nJOIN #evil\0\r"


@pytest.mark.parametrize("smuggled", [INJECTION, "a\nb", "a\rQUIT", "a\0b", "\r\n", "a\u2028b"])
async def test_cve_2025_27146_no_topic_or_reason_runs_a_command(
    rig: StartRig, serve: StartServer, smuggled: str
) -> None:
    """CVE-2025-27146: a topic or a reason from Matrix is one line of one command, of the user and of the relay."""
    server = await serve()
    adapter = await rig(server.port, relay_moderation=True)
    anna = await adapter.puppet("@anna:hs.test")
    await adapter.say(anna, "here")
    seen: list[tuple[str, list[str]]] = []

    def note(nick: str, command: str, params: list[str]) -> Verdict:
        if command not in ("PING", "PONG"):
            seen.append((command, params))
        return Verdict.PASS

    server.faults.on_line = note
    sender = MatrixSender(UserId("@anna:hs.test"), f"Anna{smuggled}")
    about = (RoomId("!r"), EventId("$e"), ChatId("#a"), sender)
    for client in (anna, adapter.observer):
        relayed = client is adapter.observer
        topic = MatrixInfo(*about, 1, topic=f"new {smuggled}", relayed=relayed)
        who = RemoteUserId("bob")
        kick = MatrixMember(*about, Membership.KICK, 1, who, reason=f"go {smuggled}", relayed=relayed)
        for run in (client.change_info(topic, FakeAttempt()), client.moderate(kick, FakeAttempt())):
            try:
                await confirmed(await run)
            except (RejectedError, NotConnectedError):
                pass
    assert {command for command, _ in seen} <= {"TOPIC", "KICK", "JOIN", "MODE"}
    assert any(command == "TOPIC" for command, _ in seen) or "\0" in smuggled
    assert not any(part in ("QUIT", "#evil") for _, params in seen for part in params[:1])
