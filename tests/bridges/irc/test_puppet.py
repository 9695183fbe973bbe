"""Puppets: a connection per Matrix user, made when it is needed, never where it is not wanted."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.network import LoginStatus
from bridge_core.api.optional import (
    Edits,
    NamesPeople,
    OpensDirectChats,
    ProvidesLogins,
    Puppets,
    Reacts,
    Redacts,
    WatchesChats,
)
from tests.bridges.irc.rig import PATIENCE, FakeAttempt, Rig, StartRig, StartServer, eventually, make_op, real

ANNA = "@anna:hs.test"


async def test_the_contracts_optional_parts_are_there() -> None:
    """The core finds by their methods what this adapter can do."""
    rig = Rig(6667)
    assert isinstance(rig.connector, ProvidesLogins)
    assert isinstance(rig.connector, WatchesChats)
    assert isinstance(rig.connector, NamesPeople)
    assert isinstance(rig.connector, OpensDirectChats)
    for client in (rig.connector.client(None, rig.inbox), await rig.make_puppet(ANNA)):
        assert isinstance(client, Edits)
        assert isinstance(client, Redacts)
        assert isinstance(client, Reacts)
    assert isinstance(rig.puppets[ANNA], Puppets)


async def test_puppets_switched_off_provide_no_login() -> None:
    """Without puppets the relay speaks for all."""
    rig = Rig(6667, puppets=False)
    assert await rig.connector.provide(UserId(ANNA), "Anna") is None


async def test_a_puppet_connects_when_it_is_needed_first(rig: StartRig, serve: StartServer) -> None:
    """Nothing happens before `prepare`; then it connects, joins, and is ready only in what it joined."""
    server = await serve()
    adapter = await rig(server.port, "#a", "#b")
    anna = await adapter.make_puppet(ANNA)
    assert not anna.ready(ChatId("#a"))
    assert len(server.world.clients) == 1
    await adapter.puppet(ANNA)
    assert not anna.ready(ChatId("#b"))
    await adapter.puppet(ANNA, "#b")
    assert {channel.name for channel in server.client("anna").channels.values()} == {"#a", "#b"}
    assert (await adapter.inbox.status(LoginStatus.CONNECTED, ANNA)).login == ANNA


async def test_a_taken_nick_gets_a_suffix(rig: StartRig, port: int) -> None:
    """A nick that somebody has becomes another one, as often as needed; mentions name the real one."""
    adapter = await rig(port)
    await adapter.witness("anna")
    await adapter.witness("anna_")
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet(ANNA)
    await adapter.say(anna, "hello")
    assert (await bob.wait_text("hello")).nick == "anna_2"


async def test_two_users_of_one_name_have_two_nicks(rig: StartRig, port: int) -> None:
    """Users of different servers do not share a nick."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    for user in ("@anna:one.test", "@anna:two.test"):
        puppet = await adapter.puppet(user, name="anna")
        await adapter.say(puppet, user)
    await bob.wait_text("two.test")
    assert [line.nick for line in bob.messages("#a")] == ["anna", "anna_"]


async def test_a_kick_sends_messages_back_with_the_reason(rig: StartRig, port: int) -> None:
    """After a kick the user is told by whom and why, and is not relayed; later they may join again."""
    adapter = await rig(port, "#b", kick_pause=60)
    op = await adapter.witness("op", "#a")
    await adapter.connector.chat_added(ChatId("#a"))
    anna = await adapter.puppet(ANNA)
    op.raw("KICK #a anna :enough")
    await eventually(lambda: not anna.ready(ChatId("#a")))
    with pytest.raises(RejectedError, match="kicked from the channel by op: enough"):
        await anna.prepare(ChatId("#a"))
    with pytest.raises(RejectedError, match="enough"):
        await anna.send(adapter.message("x"), FakeAttempt())
    adapter.host.clock.ahead += 61
    await adapter.puppet(ANNA)
    await adapter.say(anna, "sorry")


async def test_a_ban_from_a_channel_sends_messages_back(rig: StartRig, port: int) -> None:
    """Who may not join is told so in the server's words."""
    adapter = await rig(port, "#b")
    op = await adapter.witness("op", "#a")
    await adapter.connector.chat_added(ChatId("#a"))
    op.raw("MODE #a +b anna!*@*")
    await op.sync()
    anna = await adapter.make_puppet(ANNA)
    await anna.prepare(ChatId("#a"))
    await eventually(lambda: bool(anna._channels._barred))
    with pytest.raises(RejectedError, match=r"does not let you in: .*\+b"):
        await anna.prepare(ChatId("#a"))


async def test_private_messages_reach_their_user_and_nobody_else(rig: StartRig, port: int) -> None:
    """A private message arrives for the login it was written to, in a chat of the two."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    await adapter.puppet(ANNA)
    bob.privmsg("anna", "psst \x02bold\x02")
    bob.action("anna", "winks")
    await adapter.inbox.text("winks")
    first = adapter.inbox.messages[0]
    assert (first.chat, first.receiver, first.sender.id, first.sender.name) == ("bob", ANNA, "bob", "Bob")
    assert adapter.connector.direct_chat(adapter.connector.person("BOB")) == "bob"
    bob.privmsg("anna", "\x01PING 5\x01")
    await bob.wait_text("\x01PING 5\x01")
    assert len(adapter.inbox.messages) == 2


async def test_private_messages_can_be_off(rig: StartRig, port: int) -> None:
    """Switched off, their senders are told once, and nothing crosses."""
    adapter = await rig(port, private_messages=False)
    bob = await adapter.witness("Bob")
    await adapter.puppet(ANNA)
    bob.privmsg("anna", "psst")
    bob.privmsg("anna", "psst")
    await bob.wait_text("do not reach me")
    await bob.sync()
    assert len(bob.messages("Bob")) == 1
    assert adapter.inbox.messages == []


async def test_a_ban_from_the_network_ends_it(rig: StartRig, serve: StartServer) -> None:
    """A banned user is not connected again, not even by the next process, and is not relayed."""
    server = await serve()
    adapter = await rig(server.port)
    anna = await adapter.puppet(ANNA)
    server.kill("anna", "K-Lined: spam")
    state = await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    assert "K-Lined" in state.reason
    for _ in range(3):
        with pytest.raises(RejectedError, match=r"banned from this network: .*spam"):
            await anna.prepare(ChatId("#a"))
    assert list(await adapter.host.kv.items("banned/")) == [f"banned/{ANNA}"]
    assert len(server.world.clients) == 1
    again = Rig(server.port or 0, nick="relay2")
    again.host.kv.values.update(adapter.host.kv.values)
    await again.start()
    with pytest.raises(RejectedError, match="spam"):
        await (await again.make_puppet(ANNA)).prepare(ChatId("#a"))
    await again.stop()


async def test_a_lost_connection_comes_back_when_it_is_needed(rig: StartRig, serve: StartServer) -> None:
    """Where connections are made again when they are needed only, the next message brings a broken one back."""
    server = await serve()
    adapter = await rig(server.port, connects={"again": "needed"})
    anna = await adapter.puppet(ANNA)
    server.drop("anna")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    assert adapter.connector._scheduler.counts == (0, 0, 0)
    async with asyncio.timeout(60):
        while not anna.ready(ChatId("#a")):
            await anna.prepare(ChatId("#a"))
            await asyncio.sleep(0.02)
    await adapter.say(anna, "back")


async def test_an_idle_connection_is_closed(rig: StartRig, serve: StartServer) -> None:
    """Who says nothing for `idle` seconds is disconnected, and connects again for the next message."""
    server = await serve()
    adapter = await rig(server.port, idle=0.3)
    anna = await adapter.puppet(ANNA)
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    assert not anna.ready(ChatId("#a"))
    await adapter.puppet(ANNA)


async def test_there_are_no_more_puppets_than_allowed(rig: StartRig, serve: StartServer) -> None:
    """Beyond `max_puppets` nobody connects until a place is free."""
    server = await serve()
    adapter = await rig(server.port, max_puppets=1)
    await adapter.puppet(ANNA)
    carl = await adapter.make_puppet("@carl:hs.test")
    await carl.prepare(ChatId("#a"))
    await adapter.say(adapter.puppets[ANNA], "all places are taken")
    assert len(server.world.clients) == 2
    await adapter.puppets[ANNA].disconnect()
    await adapter.puppet("@carl:hs.test")


async def test_a_forced_nick_is_still_ours(rig: StartRig, serve: StartServer) -> None:
    """A nick that the server changes is followed: lines under it are not bridged back."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    anna = await adapter.puppet(ANNA)
    assert anna._session is not None
    anna._session.tell("NICK", "Guest1")
    await bob.wait_for(lambda line: line.command == "NICK")
    await adapter.say(anna, "renamed")
    assert (await bob.wait_text("renamed")).nick == "Guest1"
    bob.privmsg("#a", "Guest1: hi")
    await adapter.inbox.until(lambda: len(adapter.inbox.messages) == 1)
    assert adapter.inbox.messages[0].content.text[0].matrix == ANNA  # type: ignore[union-attr]


async def test_a_stranger_who_takes_a_lost_puppets_nick_is_bridged(rig: StartRig, serve: StartServer) -> None:
    """What is said under a nick that was ours is ours no longer once the network showed that it left."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("Bob", "#a")
    await adapter.puppet(ANNA)
    server.drop("anna")
    await bob.wait_for(lambda line: line.command == "QUIT")
    stranger = await adapter.witness("anna", "#a")
    stranger.privmsg("#a", "I am another anna")
    assert (await adapter.inbox.text("I am another anna")).sender.id == "anna"


async def test_what_others_say_is_bridged_once_with_many_puppets(rig: StartRig, port: int) -> None:
    """Twenty puppets in a channel make one message of one line."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    for number in range(20):
        await adapter.puppet(f"@user{number}:hs.test")
    for number in range(20):
        bob.privmsg("#a", f"n{number}")
    await adapter.inbox.text("n19")
    assert adapter.inbox.texts == [f"n{number}" for number in range(20)]


@pytest.mark.server
async def test_the_same_on_real_servers(rig: StartRig, ircd: Any) -> None:
    """Nick collisions, kicks, bans and private messages on InspIRCd and ngIRCd are as on the demo server."""
    adapter = await rig((await real(ircd)).port, "#b", kick_pause=60)
    op = await adapter.witness("op", "#a")
    await make_op(ircd, op, "#a")
    bob = await adapter.witness("anna", "#a")
    await adapter.connector.chat_added(ChatId("#a"))
    anna = await adapter.puppet(ANNA)
    await adapter.say(anna, "hello")
    assert (await op.wait_text("hello")).nick == "anna_"
    bob.privmsg("anna_", "psst")
    message = await adapter.inbox.text("psst")
    assert (message.chat, message.receiver) == ("anna", ANNA)
    await adapter.say(anna, "yes?", chat="anna")
    await bob.wait_text("yes?", "anna")
    op.raw("KICK #a anna_ :enough")
    await eventually(lambda: not anna.ready(ChatId("#a")))
    with pytest.raises(RejectedError, match="kicked from the channel by op: enough"):
        await anna.prepare(ChatId("#a"))
    op.raw("MODE #a +b *!*@*")
    await op.sync()
    adapter.host.clock.ahead += 61
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await anna.prepare(ChatId("#a"))
            except RejectedError as error:
                assert "the channel bans *!*@*, set by op" in str(error) or "does not let you in" in str(error)
                break
            await asyncio.sleep(0.01)


@pytest.mark.server
async def test_tls_with_a_pinned_certificate_or_authority(rig: StartRig, inspircd: Any) -> None:
    """TLS is verified by authority or fingerprint; without either the server is not believed."""
    files = inspircd.certificate
    adapter = await rig(inspircd.tls_port, tls=True, tls_ca=str(files.authority))
    anna = await adapter.puppet(ANNA)
    await adapter.say(anna, "sealed")
    untrusting = Rig(inspircd.tls_port, tls=True, nick="relay3")
    await untrusting.connector.start(untrusting.host, untrusting.inbox)  # type: ignore[arg-type]
    observer = untrusting.connector.client(None, untrusting.inbox)
    await observer.connect(None)
    state = await untrusting.inbox.status(LoginStatus.DISCONNECTED)
    await observer.disconnect()
    assert "certificate" in state.reason
