"""People of a channel: their coming, going and powers reach the core, and what Matrix moderators do reaches them."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.events import (
    MemberPower,
    Membership,
    RemoteEvent,
    RemoteInfo,
    RemoteMember,
    RemoteMembers,
    RemotePower,
    RemoteSender,
    RemoteTyping,
)
from bridge_core.api.ids import ChatId, EventId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import MatrixInfo, MatrixMember, MatrixPower, MatrixSender, MatrixTyping
from bridge_core.api.optional import ChangesInfo, EntersChats, Moderates, Signals
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed, eventually, make_op, real

CHAT = ChatId("#a")
ANNA = UserId("@anna:hs.test")


async def op(adapter: Rig, nick: str) -> None:
    """The bot, which came first, makes somebody operator of the channel."""
    session = adapter.observer._session
    assert session is not None
    session.tell("MODE", "#a", "+o", nick)
    await eventually(lambda: "o" in modes_of(adapter, nick))


def modes_of(adapter: Rig, nick: str) -> str:
    """The modes that the adapter believes somebody has."""
    person = adapter.observer._state.roster.get(nick)
    return person.channels.get(CHAT, "") if person is not None else ""


def of(adapter: Rig, kind: type[RemoteEvent]) -> list[Any]:
    """The events of a class that were received, in order."""
    return [event for event in adapter.inbox.events if isinstance(event, kind)]


def changes(adapter: Rig) -> list[tuple[str, str]]:
    """(who, what) of each change of membership."""
    return [(event.member.id, event.membership.value) for event in of(adapter, RemoteMember)]


def act(membership: Membership, nick: str, *, relayed: bool = False, reason: str | None = "spam") -> MatrixMember:
    """A moderator's act."""
    sender = MatrixSender(ANNA, "Anna")
    return MatrixMember(
        RoomId("!r"),
        EventId("$e"),
        CHAT,
        sender,
        membership,
        1,
        remote=RemoteUserId(nick),
        reason=reason,
        relayed=relayed,
    )


def given(nick: str, level: int) -> MatrixPower:
    """A power given to somebody."""
    sender = MatrixSender(ANNA, "Anna")
    return MatrixPower(RoomId("!r"), EventId("$e"), CHAT, sender, ((RemoteUserId(nick), level),), (), 1)


def topic(text: str | None, *, name: str | None = None, relayed: bool = False) -> MatrixInfo:
    """A description changed on Matrix."""
    sender = MatrixSender(ANNA, "Anna")
    return MatrixInfo(RoomId("!r"), EventId("$e"), CHAT, sender, 1, name=name, topic=text, relayed=relayed)


async def test_coming_and_going_is_told(rig: StartRig, port: int) -> None:
    """Joins, parts, kicks and quits of others are told with their reasons; nicks in several channels quit in each."""
    adapter = await rig(port, "#a", "#b")
    boss = await adapter.witness("boss", "#a")
    bob = await adapter.witness("Bob", "#a", "#b")
    eve = await adapter.witness("eve", "#a")
    await op(adapter, "boss")
    bob.part("#a", "for now")
    boss.raw("KICK #a eve :spam")
    await bob.sync()
    await eve.sync()
    await bob.quit("gone home")
    await adapter.inbox.until(lambda: ("bob", "leave") in changes(adapter)[-2:] and len(changes(adapter)) >= 7)
    assert changes(adapter) == [
        ("boss", "join"),
        ("bob", "join"),
        ("bob", "join"),
        ("eve", "join"),
        ("bob", "leave"),
        ("eve", "kick"),
        ("bob", "leave"),
    ]
    part, kick, gone = of(adapter, RemoteMember)[-3:]
    assert (part.chat, part.reason, part.by) == ("#a", "for now", None)
    assert (kick.reason, kick.by.id) == ("spam", "boss")
    assert gone.chat == "#b"


async def test_our_own_connections_are_no_news(rig: StartRig, port: int) -> None:
    """Puppets come and go as their users do: only their being kicked is told, with their login."""
    adapter = await rig(port)
    boss = await adapter.witness("boss", "#a")
    await adapter.puppet("@anna:hs.test", name="Anna")
    await op(adapter, "boss")
    boss.raw("KICK #a Anna :out")
    await adapter.inbox.until(lambda: len(changes(adapter)) >= 2)
    assert changes(adapter) == [("boss", "join"), ("anna", "kick")]
    assert of(adapter, RemoteMember)[-1].member.login == "@anna:hs.test"


async def test_all_members_and_powers_are_told_after_joining(rig: StartRig, port: int) -> None:
    """After each joining the core gets everybody in the channel, and who has which power, our own bot left out."""
    early = await Rig(port).witness("early", "#a")
    adapter = await rig(port)
    adapter.witnesses.append(early)
    await adapter.inbox.until(lambda: bool(of(adapter, RemoteMembers)))
    (members,), (powers,) = of(adapter, RemoteMembers), of(adapter, RemotePower)
    assert [member.id for member in members.members] == ["early"]
    assert powers == RemotePower(CHAT, (MemberPower(RemoteSender(RemoteUserId("early"), "early"), 50),), complete=True)


async def test_modes_are_powers(rig: StartRig, port: int) -> None:
    """A mode given or taken is a power; who holds several has the highest; a doubtful line changes nobody's."""
    adapter = await rig(port)
    early = adapter.observer._session
    assert early is not None
    bob = await adapter.witness("Bob", "#a")
    await bob.sync()

    async def after(*mode: str) -> list[tuple[str, int]]:
        seen = len(of(adapter, RemotePower))
        early.tell("MODE", "#a", *mode)
        await adapter.inbox.until(lambda: len(of(adapter, RemotePower)) > seen)
        return [(power.member.id, power.level) for power in of(adapter, RemotePower)[-1].powers]

    assert await after("+v", "Bob") == [("bob", 1)]
    assert await after("+o", "Bob") == [("bob", 50)]
    assert await after("-o", "Bob") == [("bob", 1)]
    assert await after("-v", "Bob") == [("bob", 0)]
    adapter.observer._hearing.heard([b":x!y@z MODE #a +o"])  # type: ignore[union-attr]
    assert of(adapter, RemotePower)[-1].powers[0].level == 0


async def test_topics_are_told_when_they_changed(rig: StartRig, port: int) -> None:
    """A topic set while we are there, or found at joining, is told; the same one is not told twice."""
    bob = await Rig(port).witness("Bob", "#a")
    bob.raw("TOPIC #a :first")
    await bob.sync()
    adapter = await rig(port)
    adapter.witnesses.append(bob)
    bob.raw("TOPIC #a :second")

    def topics() -> list[RemoteInfo]:
        return [event for event in of(adapter, RemoteInfo) if event.topic is not None]

    await adapter.inbox.until(lambda: len(topics()) >= 2)
    first, second = topics()
    assert (first.topic, first.by, second.topic, second.by and second.by.id) == ("first", None, "second", "bob")


async def test_moderators_of_matrix_act_on_irc(rig: StartRig, port: int) -> None:
    """Kicks, bans, unbans and invitations of a user with rights on IRC happen there, in the user's name."""
    adapter = await rig(port)
    puppet = await adapter.puppet("@anna:hs.test", name="Anna")
    await op(adapter, "Anna")
    bob = await adapter.witness("Bob", "#a")
    await bob.sync()
    assert isinstance(puppet, Moderates) and isinstance(puppet, EntersChats)
    await confirmed(await puppet.moderate(act(Membership.KICK, "bob"), FakeAttempt()))
    kick = await bob.wait_for(lambda line: line.command == "KICK")
    assert (kick.nick, kick.params) == ("Anna", ("#a", "Bob", "spam"))
    await confirmed(await puppet.moderate(act(Membership.INVITE, "bob"), FakeAttempt()))
    await bob.wait_for(lambda line: line.command == "INVITE" and line.nick == "Anna")
    await bob.join("#a")
    await confirmed(await puppet.moderate(act(Membership.BAN, "bob"), FakeAttempt()))
    await bob.wait_for(lambda line: line.command == "MODE" and "+b" in line.params)
    await bob.wait_for(lambda line: line.command == "KICK", since=bob.mark() - 1)
    await confirmed(await puppet.moderate(act(Membership.UNBAN, "bob"), FakeAttempt()))
    await bob.join("#a")


@pytest.mark.server
async def test_who_may_not_is_told(rig: StartRig, ircd: Any) -> None:
    """On real servers: what the channel does not allow comes back with the server's words; what it allows happens."""
    server = await real(ircd)
    boss = await Rig(server.port).witness("boss", "#a")
    await make_op(server, boss, "#a")
    adapter = await rig(server.port)
    adapter.witnesses.append(boss)
    puppet = await adapter.puppet("@anna:hs.test", name="Anna")
    with pytest.raises(RejectedError):
        await confirmed(await puppet.moderate(act(Membership.KICK, "boss"), FakeAttempt()))
    boss.raw("MODE #a +o Anna")
    await eventually(
        lambda: ("anna", 50) in {(p.member.id, p.level) for e in of(adapter, RemotePower) for p in e.powers}
    )
    await confirmed(await puppet.change_info(topic("from Matrix"), FakeAttempt()))
    line = await boss.wait_for(lambda line: line.command == "TOPIC")
    assert line.params == ("#a", "from Matrix")
    await confirmed(await puppet.moderate(act(Membership.KICK, "boss", reason="a\r\nQUIT :b"), FakeAttempt()))
    kick = await boss.wait_for(lambda line: line.command == "KICK")
    assert kick.params == ("#a", "boss", "a QUIT :b")


async def test_the_relay_moderates_only_where_that_is_configured(rig: StartRig, port: int) -> None:
    """The bot's own rights are no Matrix moderator's, unless the admin of the bridge says so."""
    adapter = await rig(port)
    assert isinstance(adapter.observer, Moderates) and isinstance(adapter.observer, ChangesInfo)
    with pytest.raises(UnsupportedError):
        await adapter.observer.moderate(act(Membership.KICK, "bob", relayed=True), FakeAttempt())
    with pytest.raises(UnsupportedError):
        await adapter.observer.change_info(topic("x", relayed=True), FakeAttempt())


async def test_powers_of_matrix_are_modes_where_that_is_configured(rig: StartRig, port: int) -> None:
    """A power becomes the highest mode that it covers; the default is that it becomes none."""
    adapter = await rig(port, ops_from_matrix=True)
    puppet = await adapter.puppet("@anna:hs.test", name="Anna")
    await op(adapter, "Anna")
    bob = await adapter.witness("Bob", "#a")
    await bob.sync()
    for level, mode in ((30, "+v"), (50, "+o"), (0, "-o")):
        mark = bob.mark()
        await confirmed(await puppet.moderate(given("bob", level), FakeAttempt()))
        line = await bob.wait_for(lambda line: line.command == "MODE" and "Bob" in line.params, since=mark)
        assert mode[1] in line.params[1] and mode[0] in line.params[1]
        await eventually(lambda given=mode: (given[1] in modes_of(adapter, "bob")) == (given[0] == "+"))  # type: ignore[misc]


async def test_powers_of_matrix_stay_there_by_default(rig: StartRig, port: int) -> None:
    """Without the option a power given on Matrix gives nothing on IRC, and the giver is told."""
    adapter = await rig(port)
    with pytest.raises(UnsupportedError):
        await adapter.observer.moderate(given("bob", 50), FakeAttempt())


async def test_leaving_the_room_leaves_the_channel(rig: StartRig, port: int) -> None:
    """A user who leaves the room leaves the channel with their reason, and entering brings them back."""
    adapter = await rig(port)
    bob = await adapter.witness("Bob", "#a")
    puppet = await adapter.puppet("@anna:hs.test", name="Anna")
    await puppet.leave(CHAT, "tired")
    line = await bob.wait_for(lambda line: line.command == "PART")
    assert (line.nick, line.params[-1]) == ("Anna", "tired")
    await puppet.enter(CHAT)
    await eventually(lambda: puppet.ready(CHAT))


async def test_typing_crosses_where_it_is_configured(rig: StartRig, serve: StartServer) -> None:
    """Typing goes both ways as a tag, and only with the option on."""
    server = await serve()
    adapter = await rig(server.port, typing=True)
    bob = await adapter.witness("Bob", "#a", caps=("message-tags",))
    puppet = await adapter.puppet("@anna:hs.test", name="Anna")
    assert isinstance(puppet, Signals)
    await puppet.signal(MatrixTyping(RoomId("!r"), CHAT, frozenset({ANNA}), frozenset()))
    line = await bob.wait_for(lambda line: line.command == "TAGMSG")
    assert line.tags["+typing"] == "active"
    bob.raw("@+typing=done TAGMSG #a")
    await adapter.inbox.until(lambda: bool(of(adapter, RemoteTyping)))
    assert (of(adapter, RemoteTyping)[0].sender.id, of(adapter, RemoteTyping)[0].seconds) == ("bob", 0.0)


async def test_what_the_server_shows_of_people_is_kept(rig: StartRig, serve: StartServer) -> None:
    """User, host, account and real name of a person are known from NAMES or JOIN, and stay under a new nick."""
    server = await serve(accounts={"bobby": "pw"})
    early = await Rig(server.port or 0).witness("early", "#a")
    adapter = await rig(server.port)
    adapter.witnesses.append(early)
    bob = await adapter.witness("Bob", "#a")
    bob.raw("NICK Robert")
    roster = adapter.observer._state.roster
    await eventually(lambda: roster.get("Robert") is not None)
    known, late = roster.get("early"), roster.get("Robert")
    assert known is not None and late is not None
    assert known.user and known.host
    assert late.user and late.host and late.account == "" and late.real
