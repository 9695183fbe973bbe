"""Channels as they are: who may enter, who may speak, who is banned, who is there; on servers with and without tags."""

from collections.abc import Sequence
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteChatMoved, RemoteInfo, RemoteMember, RemoteMembers
from bridge_core.api.ids import ChatId, EventId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixMember, MatrixSender
from bridge_core.api.network import LoginStatus
from bridge_core.content import to_plain
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed, eventually

CHAT = ChatId("#a")
ANNA = UserId("@anna:hs.test")


def of(adapter: Rig, kind: type) -> list[Any]:
    """The events of a class that were received, in order."""
    return [event for event in adapter.inbox.events if isinstance(event, kind)]


def rules(adapter: Rig) -> list[tuple[str | None, int | None, bool | None]]:
    """What was told of the channel's openness, in order."""
    told = [(event.join_rule, event.speak_power, event.listed) for event in of(adapter, RemoteInfo)]
    return [one for one in told if one != (None, None, None)]


def ban(membership: Membership, nick: str) -> MatrixMember:
    """A moderator's act."""
    sender = MatrixSender(ANNA, "Anna")
    return MatrixMember(
        RoomId("!r"), EventId("$e"), CHAT, sender, membership, 1, remote=RemoteUserId(nick), relayed=True
    )


def modes(adapter: Rig, *words: str) -> None:
    """The bot, which came first and is operator, changes modes."""
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#a", *words)


async def masks(adapter: Rig, letter: str, wanted: Sequence[str]) -> None:
    """Waits until the kept list holds these."""
    lists = adapter.observer._state.lists
    await eventually(
        lambda: lists.known(CHAT, letter) and [row.mask.text for row in lists.rows(CHAT, letter)] == list(wanted)
    )


async def test_modes_say_who_may_enter_and_speak(rig: StartRig, port: int) -> None:
    """What a channel's modes say of it is told after joining and whenever it changes, and only then."""
    adapter = await rig(port)
    await adapter.inbox.until(lambda: rules(adapter) == [("public", 0, True)])
    for words, told in (
        (("+m",), ("public", 1, True)),
        (("+i",), ("invite", 1, True)),
        (("-m",), ("invite", 0, True)),
        (("-i+k", "sesame"), ("invite", 0, True)),
        (("+s",), ("invite", 0, False)),
        (("-k", "sesame"), ("public", 0, False)),
    ):
        modes(adapter, *words)
        await adapter.inbox.until(lambda told=told: rules(adapter)[-1] == told)  # type: ignore[misc]
    assert len(rules(adapter)) == 6  # -i+k in one line changes nothing
    info = await adapter.observer.chat_info(CHAT)
    assert info is not None and (info.join_rule, info.speak_power, info.listed) == ("public", 0, False)


async def test_what_changed_while_away_is_told(rig: StartRig, serve: StartServer) -> None:
    """Modes are read anew after each joining; what is the same is not told again."""
    server = await serve()
    adapter = await rig(server.port)
    await adapter.inbox.until(lambda: rules(adapter) == [("public", 0, True)])
    keeper = await adapter.witness("keeper", "#a")
    modes(adapter, "+o", "keeper")
    await keeper.wait_for(lambda line: line.command == "MODE")
    server.drop("relay")
    keeper.raw("MODE #a +m")
    await adapter.inbox.until(lambda: rules(adapter)[-1] == ("public", 1, True))
    server.drop("relay")
    await adapter.inbox.status(LoginStatus.CONNECTED, count=3)
    await eventually(lambda: adapter.observer._state.regimes.get(CHAT) is not None)
    assert len(rules(adapter)) == 2


async def test_a_banned_user_is_told_why(rig: StartRig, port: int) -> None:
    """A ban that names a Matrix user stops their messages with its mask and who set it, and lifting it frees them."""
    adapter = await rig(port)
    await masks(adapter, "b", [])
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.say(anna, "before")
    modes(adapter, "+b", "anna!*@*")
    await adapter.inbox.until(lambda: bool(of(adapter, RemoteMember)))
    with pytest.raises(RejectedError, match=r"bans anna!\*@\*, set by relay"):
        await adapter.say(anna, "no")
    modes(adapter, "-b", "anna!*@*")
    await adapter.inbox.until(lambda: len(of(adapter, RemoteMember)) == 2)
    await adapter.say(anna, "after")
    told = [(event.member.login, event.membership, event.reason) for event in of(adapter, RemoteMember)]
    assert told == [(ANNA, Membership.BAN, "anna!*@*"), (ANNA, Membership.UNBAN, "anna!*@*")]


async def test_who_has_a_voice_speaks_though_banned(rig: StartRig, port: int) -> None:
    """Bans do not silence people with a mode of the channel."""
    adapter = await rig(port)
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    modes(adapter, "+vb", "Anna", "anna!*@*")
    await masks(adapter, "b", ["anna!*@*"])
    await adapter.say(anna, "voiced")


async def test_the_relay_does_not_speak_for_who_is_banned(rig: StartRig, port: int) -> None:
    """Somebody banned who is not connected is refused before the relay could say it for them, and is not connected."""
    adapter = await rig(port)
    modes(adapter, "+b", "anna!*@*")
    await masks(adapter, "b", ["anna!*@*"])
    anna = await adapter.make_puppet("@anna:hs.test", "Anna")
    with pytest.raises(RejectedError, match=r"bans anna!\*@\*"):
        await anna.prepare(CHAT)
    assert anna._session is None and anna._connecting is None
    ben = await adapter.puppet("@ben:hs.test", name="Ben")
    await adapter.say(ben, "I may")


async def test_a_mask_of_everybody_is_nobodys_ban(rig: StartRig, port: int) -> None:
    """Issue 1551: when a channel bans everybody, no room is told of each user, and the lifted ban is none either."""
    adapter = await rig(port)
    await adapter.puppet("@anna:hs.test", name="Anna")
    for mask in ("*!*@*", "*!*@127.0.0.0/0"):
        modes(adapter, "+b", mask)
        await masks(adapter, "b", [mask])
        modes(adapter, "-b", mask)
        await masks(adapter, "b", [])
    assert of(adapter, RemoteMember) == []


async def test_a_ban_from_matrix_is_lifted_as_it_was_set(rig: StartRig, port: int) -> None:
    """The mask of a ban is kept over renames and restarts: the unban takes off exactly that."""
    adapter = await rig(port, relay_moderation=True)
    bob = await adapter.witness("Bob", "#a")
    await bob.sync()
    await eventually(lambda: adapter.observer._state.roster.get("Bob") is not None)
    await confirmed(await adapter.observer.moderate(ban(Membership.BAN, "bob"), FakeAttempt()))
    await bob.wait_for(lambda line: line.command == "KICK")
    (stored,) = [*(await adapter.host.kv.items("sanction/")).values()]
    kept = adapter.observer._state.sanctions.masks(CHAT, RemoteUserId("bob"))
    await masks(adapter, "b", kept)
    assert kept[0].encode() in stored
    bob.raw("NICK Robert")
    await bob.sync()
    again = Rig(port)
    again.host.kv = adapter.host.kv
    await again.connector.start(again.host, again.inbox)  # type: ignore[arg-type]
    assert again.connector._state.sanctions.masks(CHAT, RemoteUserId("bob")) == kept
    await again.connector.stop(0)
    await confirmed(await adapter.observer.moderate(ban(Membership.UNBAN, "bob"), FakeAttempt()))
    await masks(adapter, "b", [])
    await eventually(lambda: not adapter.host.kv.values.keys() & {"sanction/#a\x1fbob"})
    await bob.join("#a")


async def test_a_ban_lifted_on_irc_is_lifted_on_matrix(rig: StartRig, port: int) -> None:
    """Who takes off the mask of a ban from Matrix ends that ban there too, also while the bridge was away."""
    adapter = await rig(port, relay_moderation=True)
    bob = await adapter.witness("Bob", "#a")
    await eventually(lambda: adapter.observer._state.roster.get("Bob") is not None)
    await confirmed(await adapter.observer.moderate(ban(Membership.BAN, "bob"), FakeAttempt()))
    await bob.wait_for(lambda line: line.command == "KICK")
    (mask,) = adapter.observer._state.sanctions.masks(CHAT, RemoteUserId("bob"))
    modes(adapter, "-b", mask)
    await adapter.inbox.until(lambda: of(adapter, RemoteMember)[-1].membership is Membership.UNBAN)
    assert of(adapter, RemoteMember)[-1].member.id == "bob"
    await adapter.observer._state.sanctions.note(CHAT, RemoteUserId("eve"), "eve!*@*")
    adapter.observer._state.sanctions.stands(CHAT, "eve!*@*")
    adapter.observer._survey.entered(CHAT)  # type: ignore[union-attr]
    await adapter.inbox.until(lambda: of(adapter, RemoteMember)[-1].member.id == "eve")
    assert of(adapter, RemoteMember)[-1].membership is Membership.UNBAN


async def test_a_list_from_before_a_ban_ends_it_not(rig: StartRig, port: int) -> None:
    """What the server answers to a question from before the ban says nothing about it; what it answers later does."""
    adapter = await rig(port, relay_moderation=True)
    sanctions, hearing = adapter.observer._state.sanctions, adapter.observer._hearing
    assert hearing is not None
    eve = RemoteUserId("eve")
    await sanctions.note(CHAT, eve, "eve!*@*")
    hearing.heard([b":irc.test 368 relay #a :End of channel ban list"])
    assert sanctions.masks(CHAT, eve) == ("eve!*@*",)
    assert not [member for member in of(adapter, RemoteMember) if member.member.id == "eve"]
    hearing.heard([b":irc.test MODE #a +b eve!*@*", b":irc.test 367 relay #a eve!*@*"])
    hearing.heard([b":irc.test 368 relay #a :End of channel ban list"])
    assert sanctions.masks(CHAT, eve) == ("eve!*@*",), "set by a MODE, it is in the list that is known"
    hearing.heard([b":irc.test MODE #a -b eve!*@*"])
    await adapter.inbox.until(lambda: any(member.member.id == "eve" for member in of(adapter, RemoteMember)))
    assert of(adapter, RemoteMember)[-1].membership is Membership.UNBAN


async def test_a_keyed_channel_is_entered_with_its_key(rig: StartRig, serve: StartServer) -> None:
    """A configured key opens a channel for the bot and for users; one that is changed there is learnt, and sealed."""
    server = await serve()
    keeper = await Rig(server.port or 0).witness("keeper", "#a", "#b")
    keeper.raw("MODE #a +k sesame")
    await keeper.sync()
    adapter = await rig(server.port, "#b", "#a", channels={"keys": {"#A": "sesame"}})
    adapter.witnesses.append(keeper)
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.say(anna, "inside")
    keeper.raw("MODE #a -k sesame")
    keeper.raw("MODE #a +k changed")
    await eventually(lambda: adapter.host.secrets.values == {"key/#a": b"changed"})
    server.drop("relay")
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
    await eventually(lambda: adapter.observer.joined(CHAT))


async def test_people_of_a_split_stay(rig: StartRig, serve: StartServer) -> None:
    """While servers are apart nobody leaves; who is back was never away, who is not leaves when it is over."""
    server = await serve()
    adapter = await rig(server.port, netsplit={"hold": 600})
    near, far, gone = [await adapter.witness(nick, "#a") for nick in ("near", "far", "gone")]
    await adapter.inbox.until(lambda: len(of(adapter, RemoteMember)) == 3)
    server.split("far", "gone")
    await near.wait_for(lambda line: line.command == "QUIT" and line.nick == "gone")
    near.privmsg("#a", "are they there?")
    await adapter.inbox.text("are they there?")
    await gone.quit("bye")
    mark = near.mark()
    server.heal()
    await near.wait_for(lambda line: line.command == "JOIN" and line.nick == "far", since=mark)
    far.privmsg("#a", "back")
    message = await adapter.inbox.text("back")
    assert message.sender.id == "far"
    assert len(of(adapter, RemoteMember)) == 3
    lists = len(of(adapter, RemoteMembers))
    adapter.observer._state.splits._over(("irc.demo", "far.demo"))  # as its timer does in the end
    await adapter.inbox.until(lambda: len(of(adapter, RemoteMembers)) > lists)
    assert {member.id for member in of(adapter, RemoteMembers)[-1].members} == {"near", "far"}
    assert len(of(adapter, RemoteMember)) == 3


async def test_what_was_missed_is_found(rig: StartRig, port: int) -> None:
    """Members that came or went unseen are set right when the channel is looked at again."""
    adapter = await rig(port, channels={"recheck": 0.3})
    bob = await adapter.witness("Bob", "#a")
    await adapter.inbox.until(lambda: bool(of(adapter, RemoteMember)))
    roster = adapter.observer._state.roster
    roster.joined(CHAT, "phantom")
    roster.gone("Bob")
    seen = len(of(adapter, RemoteMembers))

    def right() -> bool:
        found = of(adapter, RemoteMembers)[seen:]
        return bool(found) and [member.id for member in found[-1].members] == ["bob"]

    await adapter.inbox.until(right)
    assert roster.get("phantom") is None
    await bob.sync()


@pytest.mark.parametrize(("wanted", "least"), [("show", 50), ("drop", 101)])
async def test_words_for_operators_are_for_operators(rig: StartRig, port: int, wanted: str, least: int) -> None:
    """What is said to a channel's operators is marked, and meant for rooms of people with that power; else for none."""
    adapter = await rig(port, channels={"staff_messages": wanted})
    bob = await adapter.witness("Bob", "#a")
    modes(adapter, "+o", "Bob")
    await bob.wait_for(lambda line: line.command == "MODE")
    bob.privmsg("@#a", "between us")
    bob.privmsg("#a", "for all")
    await adapter.inbox.text("for all")
    said = [(to_plain(one.content.text), one.least_power) for one in adapter.inbox.messages]
    assert said == [("[@#a] between us", least), ("for all", None)]


async def test_a_key_is_given_by_command(rig: StartRig, serve: StartServer) -> None:
    """A key given to the bot opens the channel at once and stays over restarts, sealed; none is forgotten again."""
    server = await serve()
    keeper = await Rig(server.port or 0).witness("keeper", "#b")
    keeper.raw("MODE #b +k sesame")
    await keeper.sync()
    adapter = await rig(server.port, "#a", channels={"recheck": 0}, join_retry=600)
    adapter.witnesses.append(keeper)
    await adapter.connector.chat_added(ChatId("#b"))
    places = adapter.observer._places
    await eventually(lambda: (place := places.get(ChatId("#b"))) is not None and place.stage == "refused")
    command = {one.name: one for one in adapter.connector.commands()}["key"]
    assert command.secret == ("key",) and command.private and command.level is CommandLevel.ADMIN
    with pytest.raises(RejectedError):
        await command.run(CommandCall(ANNA, CommandLevel.ADMIN, {"channel": "#b", "key": "se same\r\nQUIT"}))
    await command.run(CommandCall(ANNA, CommandLevel.ADMIN, {"channel": "#B", "key": "sesame"}))
    await eventually(lambda: adapter.observer.joined(ChatId("#b")))
    assert (
        adapter.host.secrets.values == {"key/#b": b"sesame"} and b"sesame" not in str(adapter.host.kv.values).encode()
    )
    await command.run(CommandCall(ANNA, CommandLevel.ADMIN, {"channel": "#b"}))
    assert adapter.host.secrets.values == {} and adapter.observer._state.keys.of(ChatId("#b")) is None


async def test_users_say_something_to_operators_only(rig: StartRig, port: int) -> None:
    """What a user says to operators reaches them and nobody else, and is not shown on Matrix again."""
    adapter = await rig(port)
    bob, eve = await adapter.witness("Bob", "#a"), await adapter.witness("eve", "#a")
    await adapter.puppet("@anna:hs.test", name="Anna")
    modes(adapter, "+o", "Bob")
    modes(adapter, "+v", "Anna")
    await bob.wait_for(lambda line: line.command == "MODE" and "Anna" in line.params)
    command = {one.name: one for one in adapter.connector.commands()}["ops"]
    call = CommandCall(ANNA, CommandLevel.USER, {"text": "help\r\nQUIT :x"}, CHAT)
    assert await command.run(call) == "Said to @#a."
    line = await bob.wait_for(lambda line: line.command == "PRIVMSG")
    assert (line.nick, line.params) == ("Anna", ("@#a", "help QUIT :x"))
    bob.privmsg("#a", "seen")
    await adapter.inbox.text("seen")
    assert adapter.inbox.texts == ["seen"]
    assert not [line for line in eve.lines if line.command == "PRIVMSG" and line.nick == "Anna"]
    with pytest.raises(RejectedError):
        await command.run(CommandCall(ANNA, CommandLevel.USER, {"text": "x"}, ChatId("bob")))


@pytest.mark.parametrize(("wanted", "followed"), [("refuse", []), ("follow", [(CHAT, "#overflow")])])
async def test_a_forward_is_followed_only_where_that_was_agreed(
    rig: StartRig, port: int, wanted: str, followed: list[tuple[str, str]]
) -> None:
    """A channel that sends us elsewhere (470) is not entered there, unless the admin has said that staff agreed."""
    adapter = await rig(port, channels={"forwards": wanted}, consent={"required": False})
    hearing, session = adapter.observer._hearing, adapter.observer._session
    assert hearing is not None and session is not None
    keeper = await adapter.witness("keeper", "#Overflow")
    hearing.heard(
        [
            b":irc.demo 470 relay #a #Overflow :Forwarding to another channel",
            b":irc.demo 470 relay #a no-channel :Forwarding to another channel",
            b":relay!r@bridge.example JOIN #Overflow",
        ]
    )
    keeper.privmsg("#Overflow", "nobody asked")
    bob = await adapter.witness("bob", "#a")
    bob.privmsg("#a", "here")
    await adapter.inbox.text("here")
    assert adapter.inbox.texts == ["here"]
    assert [(event.chat, event.new) for event in of(adapter, RemoteChatMoved)] == followed
