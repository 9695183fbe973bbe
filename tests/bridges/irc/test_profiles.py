"""What people show of themselves, both ways: names, pictures, who is away, who is a bot."""

from typing import Any

import pytest

from bridge_core.api.events import Presence, RemotePresence, RemoteRename
from bridge_core.api.ids import ChatId, UserId
from bridge_core.api.matrix import MatrixPresence, MatrixSender
from bridges.irc import metadata
from bridges.irc.config.people import People
from bridges.irc.demo.options import CAPABILITIES, Verdict
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed, eventually

ANNA = UserId("@anna:hs.test")
FACE = "https://pictures.example/{size}/bob.png"


class Heard:
    """The commands that a server was given."""

    def __init__(self) -> None:
        self.commands: set[str] = set()

    def line(self, nick: str, command: str, params: list[str]) -> Verdict:
        """As a fault hook."""
        self.commands.add(command)
        return Verdict.PASS


def seen(adapter: Rig, kind: type[Any]) -> list[Any]:
    """The events of a class that were received, in order."""
    return [event for event in adapter.inbox.events if isinstance(event, kind)]


async def test_names_and_pictures_of_people_are_shown(rig: StartRig, serve: StartServer) -> None:
    """Who was there before, comes later, or changes them: ghosts are called and look so, never without their nick."""
    server = await serve()
    early = await Rig(server.port or 0).witness("early", "#a", caps=("draft/metadata-2", "batch"))
    early.raw("METADATA * SET display-name :The Early Bird")
    await early.sync()
    adapter = await rig(server.port)
    adapter.witnesses.append(early)
    roster = adapter.observer._state.roster
    await eventually(lambda: (one := roster.get("early")) is not None and one.sender.name == "The Early Bird (early)")
    bob = await adapter.witness("bob", "#a", caps=("draft/metadata-2", "batch"))
    bob.raw(f"METADATA * SET avatar :{FACE}")
    await adapter.inbox.until(lambda: bool([one for one in seen(adapter, RemoteRename) if one.new.avatar]))
    shown = seen(adapter, RemoteRename)[-1].new
    assert (shown.id, shown.name, shown.avatar) == ("bob", "bob", "https://pictures.example/256/bob.png")
    bob.raw("PRIVMSG #a :look at me")
    said = await adapter.inbox.text("look at me")
    assert said.sender.avatar == "https://pictures.example/256/bob.png"
    bob.raw("METADATA * SET avatar")
    await adapter.inbox.until(lambda: seen(adapter, RemoteRename)[-1].new.avatar == "")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://a.example/b.png", "https://a.example/b.png"),
        ("https://a.example/{size}.png", "https://a.example/256.png"),
        ("http://a.example/b.png", ""),
        ("file:///etc/passwd", ""),
        ("mxc://a.example/b", ""),
        ("https://a.example/ b", ""),
        ('https://a.example/"><script>', ""),
        ("https://" + "a" * 5000, ""),
        ("", ""),
    ],
)
def test_only_addresses_of_the_web_are_pictures(value: str, shown: str) -> None:
    """What strangers name as their picture is an https address, or nothing: the core fetches no other of theirs."""
    assert metadata.address(value) == shown


def test_names_of_strangers_are_one_visible_line() -> None:
    """Control and direction characters are left out, spaces are one, and length is bounded."""
    assert metadata.name(" Bob\u202e \n the\x00 Builder\u2028 ") == "Bob the Builder"
    assert len(metadata.name("x" * 1000)) == 80
    assert metadata.name("\u200b\u202e") == ""


async def test_names_do_not_make_somebody_else(rig: StartRig, serve: StartServer) -> None:
    """Whoever calls themselves as another is shown with their own nick behind it, and is nobody else."""
    server = await serve()
    adapter = await rig(server.port)
    eve = await adapter.witness("eve", "#a", caps=("draft/metadata-2", "batch"))
    eve.raw("METADATA * SET display-name :alice")
    await adapter.inbox.until(lambda: bool(seen(adapter, RemoteRename)))
    shown = seen(adapter, RemoteRename)[-1].new
    assert (shown.id, shown.name) == ("eve", "alice (eve)")


async def test_bots_are_marked(rig: StartRig, serve: StartServer) -> None:
    """Who has the network's bot mode is shown as a bot."""
    server = await serve()
    bot = await Rig(server.port or 0).witness("weather", "#a")
    bot.raw("MODE weather +B")
    await bot.sync()
    adapter = await rig(server.port)
    adapter.witnesses.append(bot)
    bot.raw("PRIVMSG #a :rain")
    said = await adapter.inbox.text("rain")
    roster = adapter.observer._state.roster
    await eventually(lambda: (one := roster.get("weather")) is not None and one.bot)
    assert said.sender.name in ("weather", "weather (bot)")
    bot.raw("PRIVMSG #a :sun")
    assert (await adapter.inbox.text("sun")).sender.name == "weather (bot)"
    assert (await adapter.observer.user_info(said.sender.id)).bot


async def test_names_and_pictures_of_matrix_users_are_shown(rig: StartRig, serve: StartServer) -> None:
    """A user's name and picture are told once, and again when they change; the picture is a link of the bridge."""
    server = await serve()
    adapter = await rig(server.port, realname_template="$DISPLAY on Matrix")
    bob = await adapter.witness("bob", "#a", caps=("draft/metadata-2", "batch", "setname"))
    bob.raw("METADATA * SUB display-name avatar")
    puppet = await adapter.puppet(ANNA, name="Anna")

    async def say(text: str, name: str, avatar: str | None) -> None:
        message = adapter.message(text)
        object.__setattr__(message, "sender", MatrixSender(ANNA, name, avatar))
        await confirmed(await puppet.send(message, FakeAttempt()))

    await say("one", "Anna Smith", "mxc://hs.test/face")
    await say("two", "Anna Smith", "mxc://hs.test/face")
    await say("three", "Queen\r\nAnna", None)
    await bob.wait_text("three")
    told = [
        (line.params[1], line.text) for line in bob.lines if line.command == "METADATA" and line.params[0] == "Anna"
    ]
    assert told == [
        ("display-name", "Anna Smith"),
        ("avatar", "https://media.test/avatar"),
        ("display-name", "Queen Anna"),
        ("avatar", "*"),
    ]
    names = [line.text for line in bob.lines if line.command == "SETNAME"]
    assert names == ["Anna Smith on Matrix", "Queen Anna on Matrix"]


async def test_nothing_is_told_where_that_is_off_or_unknown(rig: StartRig, serve: StartServer) -> None:
    """Without the capability, or by configuration, nobody's name and picture are told or shown."""
    for server, people in (
        (await serve(capabilities=CAPABILITIES - {"draft/metadata-2"}), People()),
        (await serve(), People(share=False, metadata=False)),
    ):
        heard = Heard()
        server.faults.on_line = heard.line
        adapter = await rig(server.port, people=people)
        puppet = await adapter.puppet(ANNA, name="Anna")
        await adapter.say(puppet, "hello")
        assert "PRIVMSG" in heard.commands and "METADATA" not in heard.commands


async def test_who_is_away_is_shown_both_ways(rig: StartRig, serve: StartServer) -> None:
    """Where it is configured: people of channels, partners of private chats, and Matrix users on the network."""
    server = await serve()
    adapter = await rig(server.port, people=People(away=True))
    bob = await adapter.witness("bob", "#a", caps=("away-notify",))
    far = await adapter.witness("far")
    puppet = await adapter.puppet(ANNA, name="Anna")
    bob.raw("AWAY :at lunch")
    await adapter.inbox.until(lambda: bool(seen(adapter, RemotePresence)))
    first = seen(adapter, RemotePresence)[-1]
    assert (first.sender.id, first.presence, first.status) == ("bob", Presence.AWAY, "at lunch")
    bob.raw("AWAY")
    await adapter.inbox.until(lambda: seen(adapter, RemotePresence)[-1].presence is Presence.ONLINE)
    far.raw("PRIVMSG Anna :hello")
    await adapter.inbox.text("hello")
    await adapter.inbox.until(lambda: seen(adapter, RemotePresence)[-1].sender.id == "far")
    await far.quit("gone")
    await adapter.inbox.until(lambda: seen(adapter, RemotePresence)[-1].presence is Presence.OFFLINE)
    await puppet.signal(MatrixPresence(ANNA, Presence.AWAY))
    gone = await bob.wait_for(lambda line: line.command == "AWAY" and line.nick == "Anna")
    assert gone.text == "Away on Matrix"
    await puppet.signal(MatrixPresence(ANNA, Presence.ONLINE, "dancing"))
    await bob.wait_for(lambda line: line.command == "AWAY" and line.nick == "Anna" and not line.params)
    assert not any("dancing" in line.text for line in bob.lines)


async def test_nobody_is_shown_as_away_by_default(rig: StartRig, serve: StartServer) -> None:
    """Without the setting nothing is asked for, shown or told."""
    server = await serve()
    adapter = await rig(server.port)
    bob = await adapter.witness("bob", "#a", caps=("away-notify",))
    puppet = await adapter.puppet(ANNA, name="Anna")
    bob.raw("AWAY :at lunch")
    await puppet.signal(MatrixPresence(ANNA, Presence.AWAY))
    await adapter.say(puppet, "still here")
    await bob.wait_text("still here")
    bob.raw("PRIVMSG #a :back")
    await adapter.inbox.text("back")
    assert seen(adapter, RemotePresence) == []
    assert [line for line in bob.lines if line.command == "AWAY"] == []
    assert puppet.ready(ChatId("#a"))


@pytest.mark.parametrize("early", [True, False])
async def test_who_is_away_comes_as_such(rig: StartRig, serve: StartServer, early: bool) -> None:
    """A user who is away when they are connected is never seen as being there (pre-away); without it, right after."""
    server = await serve(capabilities=CAPABILITIES if early else CAPABILITIES - {"draft/pre-away"})
    adapter = await rig(server.port, people=People(away=True))
    said: list[tuple[bool, str, list[str]]] = []

    def note(nick: str, command: str, params: list[str]) -> Verdict:
        if command == "AWAY":
            client = server.world.find("Anna")
            said.append((client is not None and client.registered, nick, list(params)))
        return Verdict.PASS

    server.faults.on_line = note
    puppet = await adapter.make_puppet(ANNA, name="Anna")
    await puppet.signal(MatrixPresence(ANNA, Presence.AWAY))
    await adapter.puppet(ANNA, name="Anna")
    await adapter.say(puppet, "by mail")
    assert said == [(not early, "Anna", ["Away on Matrix"])]
    await puppet.signal(MatrixPresence(ANNA, Presence.ONLINE))
    await adapter.say(puppet, "back")
    assert said[-1] == (True, "Anna", [])
    assert len(said) == 2
