"""Who is invited to a channel, or asks to be let in: both ways, and only where the channel is bridged."""

from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteMember
from bridge_core.api.ids import ChatId, NetworkId, UserId
from bridge_core.api.optional import Knocks
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually, make_op, real
from tests.harness import Harness

ANNA = "@anna:hs.test"


def _members(adapter: Rig, kind: Membership) -> list[RemoteMember]:
    return [event for event in adapter.inbox.events if isinstance(event, RemoteMember) and event.membership is kind]


async def test_an_invitation_reaches_the_user_once(rig: StartRig, port: int) -> None:
    """Somebody of a bridged channel invites a user's connection: their room is to invite them, not again at once."""
    adapter = await rig(port, "#a", "#b")
    anna = await adapter.puppet(ANNA)
    bob = await adapter.witness("bob", "#b", "#elsewhere")
    bob.raw("INVITE anna #elsewhere")
    bob.raw("INVITE anna #b")
    bob.raw("INVITE anna #b")
    await bob.sync()
    await adapter.inbox.until(lambda: bool(_members(adapter, Membership.INVITE)))
    await adapter.say(anna, "read all")
    (invited,) = _members(adapter, Membership.INVITE)
    assert (invited.chat, invited.member.login, invited.by and invited.by.name) == ("#b", ANNA, "bob")
    assert "bob invites you" in (invited.reason or "")
    assert ChatId("#b") not in anna._channels, "nobody is in a channel before they have agreed"


async def test_nobody_is_invited_without_end(rig: StartRig, port: int) -> None:
    """However many channels somebody invites a user to, no more than a few are passed on that were not asked for."""
    chats = [f"#c{number}" for number in range(8)]
    adapter = await rig(port, "#a", *chats)
    anna = await adapter.puppet(ANNA)
    bob = await adapter.witness("bob", *chats)
    for chat in chats:
        bob.raw(f"INVITE anna {chat}")
    await bob.sync()
    await adapter.say(anna, "read all")
    await adapter.inbox.until(lambda: len(_members(adapter, Membership.INVITE)) >= 5)
    assert [event.chat for event in _members(adapter, Membership.INVITE)] == chats[:5]


async def test_invitations_can_be_off(rig: StartRig, port: int) -> None:
    """With `channels.invitations` off, and in channels that have not agreed, nobody is invited."""
    adapter = await rig(port, "#a", "#b", channels={"invitations": False})
    anna = await adapter.puppet(ANNA)
    bob = await adapter.witness("bob", "#b")
    bob.raw("INVITE anna #b")
    await bob.sync()
    await adapter.say(anna, "read all")
    assert _members(adapter, Membership.INVITE) == []


async def test_closed_channels_invite_nobody(rig: StartRig, port: int) -> None:
    """A channel whose operators said no has no room for anybody, whoever invites."""
    adapter = await rig(port, "#a", "#b")
    anna = await adapter.puppet(ANNA)
    bob = await adapter.witness("bob", "#b")
    adapter.connector._state.consents.end(ChatId("#b"))
    bob.raw("INVITE anna #b")
    await bob.sync()
    await adapter.say(anna, "read all")
    assert _members(adapter, Membership.INVITE) == []
    with pytest.raises(RejectedError):
        await anna.knock(ChatId("#b"), None)


@pytest.mark.parametrize("knock", [True, False])
async def test_a_knock_on_matrix_asks_the_channel(rig: StartRig, serve: StartServer, knock: bool) -> None:
    """Who is not let in knocks (KNOCK, or a word to the operators), once; invited they enter, and their room knows."""
    server = await serve(knock=knock)
    adapter = await rig(server.port, "#a", "#b")
    op = await adapter.witness("op")
    await op.join("#b")
    await eventually(lambda: adapter.connector._state.roster.get("op") is not None)
    anna = await adapter.make_puppet(ANNA)
    relay = server.client("relay")
    assert isinstance(anna, Knocks)
    server.world.channels["#b"].members[server.client("op")] = "o"
    op.raw("MODE #b +i")
    await op.sync()
    await anna.knock(ChatId("#b"), "I am\nnew here")
    if knock:
        line = await op.wait_for(lambda line: line.command == "710")
        assert line.text.endswith("I am new here") and "anna!" in line.params[-2]
    else:
        line = await op.wait_text("asks to be let in")
        assert line.params[0] == "@#b" and ANNA in line.text and "I am new here" in line.text
    assert relay.registered
    mark = op.mark()
    await anna.knock(ChatId("#b"), "I am new here")
    op.raw("INVITE anna #b")
    await op.wait_for(lambda line: line.command == "JOIN" and line.nick == "anna", since=mark)
    await adapter.inbox.until(lambda: bool(_members(adapter, Membership.INVITE)))
    assert _members(adapter, Membership.INVITE)[0].member.login == ANNA
    await eventually(lambda: anna.ready(ChatId("#b")))
    assert not anna._invitations._asked


async def test_a_knock_on_irc_is_told(rig: StartRig, serve: StartServer) -> None:
    """The bot hears a knock where it is operator; who it is and what they say goes to the room; our own do not."""
    server = await serve()
    adapter = await rig(server.port, "#a")
    bob = await adapter.witness("bob")
    op = await adapter.witness("op", "#a")
    channel = server.world.channels["#a"]
    assert "o" in channel.members[server.client("relay")], "the bot came first"
    anna = await adapter.make_puppet(ANNA)
    server.world.channels["#a"].modes.add("i")
    await anna.knock(ChatId("#a"), "me too")
    bob.raw("KNOCK #a :let me in")
    bob.raw("KNOCK #a")
    await adapter.inbox.until(lambda: len(_members(adapter, Membership.KNOCK)) == 2)
    await eventually(lambda: anna._session is not None and anna._session.up)
    op.privmsg("#a", "read all")
    await adapter.inbox.text("read all")
    knocks = [(event.member.name, event.reason) for event in _members(adapter, Membership.KNOCK)]
    assert knocks == [("bob", "let me in"), ("bob", None)]


async def test_nobody_makes_rooms_full_of_knocks(rig: StartRig, serve: StartServer) -> None:
    """Knocks are passed on at a bounded rate, and only servers are believed who they come from."""
    server = await serve()
    adapter = await rig(server.port, "#a")
    op = await adapter.witness("op", "#a")
    op.raw("NOTICE #a :User eve is KNOCKing on #a (hello)")
    op.raw("NOTICE #a :[Knock] by eve!e@h (hello)")
    server.world.channels["#a"].modes.add("i")
    bob = await adapter.witness("bob")
    for number in range(40):
        bob.raw(f"KNOCK #a :{number}")
    await bob.sync()
    op.privmsg("#a", "read all")
    await adapter.inbox.text("read all")
    knocks = _members(adapter, Membership.KNOCK)
    assert 10 <= len(knocks) < 20 and {event.member.name for event in knocks} == {"bob"}


async def test_an_invitation_of_the_bot_opens_a_bridged_channel(rig: StartRig, serve: StartServer) -> None:
    """A bridged channel that did not let the bot in is entered as soon as somebody invites it."""
    server = await serve()
    adapter = await rig(server.port, "#a", join_retry=3600)
    op = await adapter.witness("op", "#b")
    op.raw("MODE #b +i")
    await op.sync()
    adapter.host._chats = (*adapter.host._chats, ChatId("#b"))
    await adapter.connector.chat_added(ChatId("#b"))
    assert await adapter.observer.chat_info(ChatId("#b")) is None
    op.raw("INVITE relay #b")
    await op.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay")


@pytest.mark.server
async def test_knocks_on_a_real_server(rig: StartRig, inspircd: Any) -> None:
    """On InspIRCd: a user's knock reaches the channel's operators, a person's knock the room."""
    inspircd.modules.append("knock")
    inspircd.config = '<knock notify="both">'
    server = await real(inspircd)
    adapter = await rig(server.port, "#a")
    op = await adapter.witness("op", "#a")
    await make_op(server, op, "#a")
    op.raw("MODE #a +i")
    await op.sync()
    anna = await adapter.make_puppet(ANNA)
    await anna.knock(ChatId("#a"), "it is me")
    await op.wait_for(lambda line: line.command == "710" and "it is me" in line.text)
    bob = await adapter.witness("bob")
    bob.raw("KNOCK #a :let me in")
    await adapter.inbox.until(lambda: len(_members(adapter, Membership.KNOCK)) >= 1)
    assert {(one.member.name, one.reason) for one in _members(adapter, Membership.KNOCK)} == {("bob", "let me in")}
    op.raw("INVITE anna #a")
    await adapter.inbox.until(lambda: bool(_members(adapter, Membership.INVITE)))
    await eventually(lambda: anna.ready(ChatId("#a")))
    assert UserId(ANNA) == _members(adapter, Membership.INVITE)[0].member.login


async def test_knocks_cross_and_end_in_invitations(tmp_path: Path, serve: StartServer) -> None:
    """Whole: a Matrix user's knock is one on IRC, whose operator's INVITE invites them; a person's knock on IRC is one
    of their ghost."""
    server = await serve()
    bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob")
    eve = await Witness.connect("127.0.0.1", int(server.port or 0), "eve")
    await bob.join("#den")
    irc = {
        "type": "irc",
        "server": "127.0.0.1",
        "port": server.port,
        "tls": False,
        "nick": "relay",
        "rate": 0,
        "connect_rate": 0,
        "reconnect_min": 0.05,
        "portals": ["#den"],
        "grants": ["portals", "puppets"],
        "channels": {"invite_only": "knock"},
    }
    try:
        async with Harness(tmp_path, {"irc": irc}) as bridge:
            engine = bridge.running.engine
            room = await engine.rooms.ensure(await engine.portals.ensure(NetworkId("irc"), ChatId("#den")))
            there = bridge.homeserver.room(room)
            bob.raw("MODE #den +o relay")
            bob.raw("MODE #den +i")
            await bridge.until(lambda: (there.content("m.room.join_rules") or {}).get("join_rule") == "knock")
            bridge.alice.knock(room, "may I?")
            line = await bob.wait_for(lambda line: line.command == "710")
            assert line.text.endswith("may I?")
            bob.raw(f"INVITE {line.params[-2].partition('!')[0]} #den")
            await bridge.until(lambda: there.membership(bridge.alice.id) == "invite")
            eve.raw("KNOCK #den :and I?")
            await bridge.until(lambda: there.membership("@_irc_eve:hs.test") == "knock")
    finally:
        await bob.close()
        await eve.close()
