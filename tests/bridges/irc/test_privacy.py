"""Who is in a channel is read off the server's list, and the privacy filter over it never shows what it must not."""

import pytest

from bridge_core.api.ids import ChatId, UserId
from bridge_core.engine import privacy as privacy_module
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Witness
from bridges.irc.present import ELSEWHERE, NOBODY
from tests.bridges.irc.rig import Bridged, StartRig, eventually

A = ChatId("#x")
ANNA = UserId("@anna:hs.test")
BEN = UserId("@ben:hs.test")


async def test_presence_is_what_the_server_tells(rig: StartRig, port: int) -> None:
    """In the channel by one's own connection, out by kick and quit; a nick that another took stands for nobody."""
    adapter = await rig(port)
    observer = adapter.observer
    op = await adapter.witness("op", "#x")
    observer.want(A)
    assert await observer.chat_info(A) is not None
    assert observer.absent(A, [ANNA, BEN]) == {ANNA: NOBODY, BEN: NOBODY}
    puppet = await adapter.puppet(ANNA, "#x", name="anna")
    await eventually(lambda: observer.absent(A, [ANNA]) == {})
    assert adapter.connector.absent(A, [ANNA, BEN]) == {BEN: NOBODY}
    op.raw("KICK #x anna :out")
    await eventually(lambda: observer.absent(A, [ANNA]) == {ANNA: ELSEWHERE})
    await puppet.disconnect()
    await eventually(lambda: observer.absent(A, [ANNA]) == {ANNA: NOBODY})
    await adapter.witness("anna", "#x")
    op.privmsg("#x", "still here")
    await adapter.inbox.text("still here")
    assert observer.absent(A, [ANNA]) == {ANNA: NOBODY}
    await observer.disconnect()
    assert observer.absent(A, [ANNA]) is None


async def test_nobody_reads_the_channel_whose_connection_is_not_in_it(
    bridged: Bridged, server: DemoIrcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the channel to the room: held while the reader's connection is out, for whatever reason, and shown in order
    when it is in again."""
    for name in ("_EVERY", "_PATIENCE", "_AGAIN"):
        monkeypatch.setattr(privacy_module, name, 0.05)
    bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob")
    await bob.join("#a")
    try:
        async with bridged(
            kick_pause=1, portals=["#a"], grants=["puppets"], privacy={"all_members_joined": True}
        ) as bridge:

            def shown() -> list[str]:
                messages = bridge.homeserver.messages(room)
                return [str(body) for sender, body in messages if sender.startswith("@_irc_")]

            portals = bridge.running.engine.portals
            room = await bridge.running.engine.rooms.ensure(await portals.ensure("irc", "#a"))  # type: ignore[arg-type]
            await bridge.running.matrix.invite(room, UserId(bridge.alice.id))
            bridge.alice.join(room)
            bob.privmsg("#a", "one")
            await bridge.until(lambda: shown() == ["one"])  # the filter itself brought her connection in
            bob.raw("KICK #a alice :out")
            bob.privmsg("#a", "two")
            bob.privmsg("#a", "three")
            await bridge.until(lambda: bridge.running.privacy.held() == 1)
            assert shown() == ["one"]
            await bridge.until(lambda: "\n".join(shown()) == "one\ntwo\nthree", 60)
            assert bridge.running.privacy.held() == 0
    finally:
        await bob.close()
