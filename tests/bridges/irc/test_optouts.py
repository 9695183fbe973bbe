"""People of IRC who do not want to be bridged are not, by their own word and nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge_core.api.errors import TransientError
from bridge_core.api.events import Membership, RemoteConsent, RemoteMember
from bridge_core.api.ids import ChatId, NetworkId, PortalKey
from bridges.irc import people
from bridges.irc.allowance import Allowances
from bridges.irc.codec.message import Line, Source
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Received, Witness
from bridges.irc.optouts import PersonalWishes
from tests.bridges.irc.rig import StartRig, StartServer, eventually
from tests.harness import Harness

GHOST = "@_irc_bob:hs.test"


def _said(adapter: Any) -> list[tuple[str, bool]]:
    return [(event.chat, event.granted) for event in adapter.inbox.events if isinstance(event, RemoteConsent)]


async def test_a_nick_opts_out_and_in(rig: StartRig, port: int) -> None:
    """The core is told before the answer is given, and that they are in no channel; the answer says how far it goes."""
    adapter = await rig(port, contact="admin@example.org")
    bob = await adapter.witness("bob", "#a")
    bob.privmsg("relay", "!optout")
    answer = await bob.wait_text("From now on nothing")
    assert "the nick bob" in answer.text and "admin@example.org" in answer.text
    assert "not logged in" in (await bob.wait_text("!optin takes it back")).text
    assert _said(adapter) == [("bob", False)]
    gone = [event for event in adapter.inbox.events if isinstance(event, RemoteMember) and event.chat == "#a"]
    assert (gone[-1].member.id, gone[-1].membership) == ("bob", Membership.LEAVE)
    bob.privmsg("relay", "!OptIn")
    await bob.wait_text("again, from now on")
    assert _said(adapter) == [("bob", False), ("bob", True)]


async def test_an_account_opts_out_with_its_nick(rig: StartRig, serve: StartServer) -> None:
    """It is the account that the server names, under every nick, and the nick of now for before they log in."""
    server = await serve(accounts={"robert": "secret"})
    adapter = await rig(server.port)
    bob = await Witness.connect("127.0.0.1", server.port or 0, "bob", sasl=("robert", "secret"))
    adapter.witnesses.append(bob)
    bob.privmsg("relay", "!optout")
    assert "the account robert, and the nick bob" in (await bob.wait_text("From now on nothing")).text
    account = people.of_account("robert")
    assert _said(adapter) == [(account, False), ("bob", False)]


async def test_users_of_ours_say_it_on_matrix(rig: StartRig, port: int) -> None:
    """A Matrix user's own connection is not a person of IRC: who speaks by it is asked to say it on Matrix."""
    adapter = await rig(port)
    puppet = await adapter.puppet("@anna:hs.test", name="anna")
    eve = await adapter.witness("eve", "#a")
    assert puppet._session is not None
    puppet._session.tell("PRIVMSG", "relay", "!optout")
    eve.privmsg("relay", "!optout")
    await eve.wait_text("From now on nothing")
    assert _said(adapter) == [("eve", False)]


async def test_nobody_is_told_what_is_not_stored(rig: StartRig, port: int) -> None:
    """While the core cannot store it they are asked to say it again, and nothing is promised."""
    adapter = await rig(port)
    bob = await adapter.witness("bob", "#a")
    receive = adapter.inbox.receive

    async def full(events: Any, **more: Any) -> Any:
        if any(isinstance(event, RemoteConsent) for event in events):
            raise TransientError("the disk is full")
        return await receive(events, **more)

    adapter.inbox.receive = full  # type: ignore[method-assign]
    bob.privmsg("relay", "!optout")
    await bob.wait_text("say it again in a while")
    assert not [line for line in bob.lines if "From now on" in line.text]


class _Person:
    """Somebody who writes to the bot from where they say, in one session of the observer."""

    def __init__(self, adapter: Any) -> None:
        self.told: list[str] = []
        session = adapter.observer._session
        session.tell = lambda command, nick, text, **_: self.told.append(text)
        self.wishes = PersonalWishes(adapter.connector._state, session, adapter.observer.commit)

    async def say(self, word: str, nick: str, host: str, account: str = "") -> str:
        """What they are answered."""
        before = len(self.told)
        tags = {"account": account} if account else {}
        assert self.wishes.said(Line(tags, Source(nick, "u", host), "PRIVMSG", ("relay", word)), word)
        await eventually(lambda: len(self.told) > before)
        await eventually(lambda: not self.wishes._book.turn.locked())
        return self.told[before]


async def test_strangers_do_not_lift_an_optout(rig: StartRig, serve: StartServer) -> None:
    """Who has the nick later, from elsewhere or with another account, does not open what somebody else closed; who
    said it does, and the account of that name. It is remembered over sessions."""
    server = await serve(accounts={"robert": "secret"})
    adapter = await rig(server.port)
    person = _Person(adapter)
    await person.say("!optout", "bob", "home", "robert")
    await person.say("!optout", "carl", "home")
    said = _said(adapter)
    assert said == [("=robert", False), ("bob", False), ("carl", False)]
    person = _Person(adapter)
    for who in (("bob", "elsewhere"), ("bob", "home"), ("carl", "elsewhere"), ("carl", "elsewhere", "")):
        assert "Nothing was changed" in await person.say("!optin", *who)
    assert "again, from now on" in await person.say("!optin", "bob", "other", "evil")  # of their own account only
    assert _said(adapter) == [*said, ("=evil", True)]
    await person.say("!optin", "bob", "elsewhere.example", "robert")
    await person.say("!optin", "carl", "far.example", "carl")
    assert _said(adapter)[4:] == [("=robert", True), ("bob", True), ("=carl", True), ("carl", True)]


async def test_optouts_are_bounded_and_nobody_silences_others(rig: StartRig, port: int) -> None:
    """One host opts out some nicks only, and floods only itself; whoever is refused is told."""
    adapter = await rig(port)
    person = _Person(adapter)
    for number in range(5):
        await person.say("!optout", f"n{number}", "flood")
    assert "say it again in a minute" in await person.say("!optout", "n5", "flood")
    assert "From now on nothing" in await person.say("!optout", "bob", "home")
    person.wishes._of_hosts = Allowances(lambda: 0.0, 100, 0)
    for number in range(5, 20):
        await person.say("!optout", f"n{number}", "flood")
    assert "log in to an account" in await person.say("!optout", "n20", "flood")
    assert "From now on nothing" in await person.say("!optout", "n20", "elsewhere")
    assert ("n19", False) in _said(adapter) and len(_said(adapter)) == 22


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[DemoIrcServer]:
    server = DemoIrcServer()
    await server.start()
    yield server
    await server.stop()


async def test_nothing_of_them_crosses_over_restarts(tmp_path: Path, server: DemoIrcServer) -> None:
    """What they say is shown to nobody, now and after a restart; their ghost leaves; `!optin` ends it."""
    irc = {
        "type": "irc",
        "server": "127.0.0.1",
        "port": server.port,
        "tls": False,
        "nick": "relay",
        "rate": 0,
        "connect_rate": 0,
        "hybrid": {"puppet": "always"},
        "reconnect_min": 0.05,
        "leave_grace": "0s",
        "members": "eager",
        "portals": ["#den"],
    }
    bob = await Witness.connect("127.0.0.1", int(server.port or 0), "bob")
    carl = await Witness.connect("127.0.0.1", int(server.port or 0), "carl")
    for witness in (bob, carl):
        await witness.join("#den")

    def comes(line: Received) -> bool:
        return (line.command, line.nick) == ("JOIN", "relay")

    try:
        async with Harness(tmp_path, {"irc": irc}) as bridge:
            await bob.wait_for(comes)
            bob.privmsg("#den", "hello Matrix")

            def row() -> Any:
                return bridge.running.engine.portals.get(PortalKey(NetworkId("irc"), ChatId("#den")))

            def shown() -> list[str]:
                rooms = row().rooms
                said = bridge.homeserver.messages(rooms[0]) if rooms else ()
                return [str(body) for who, body in said if "_irc_" in who]

            await bridge.until(lambda: shown() == ["hello Matrix"])
            room = row().rooms[0]
            bob.privmsg("relay", "!optout")
            await bob.wait_text("From now on nothing")
            bob.privmsg("#den", "secret 1")
            carl.privmsg("#den", "read 1")
            await bridge.until(lambda: "read 1" in shown())
            await bridge.until(lambda: bridge.homeserver.room(room).membership(GHOST) == "leave")
            await bridge.stop_bridge()
            mark = bob.mark()
            await bridge.start_bridge()
            await bob.wait_for(comes, since=mark)
            bob.privmsg("#den", "secret 2")
            carl.privmsg("#den", "read 2")
            await bridge.until(lambda: "read 2" in shown())
            await bridge.settled()
            assert bridge.homeserver.room(room).membership(GHOST) == "leave"
            mark = bob.mark()
            bob.privmsg("relay", "!optin")
            await bob.wait_text("again, from now on", since=mark)
            await bridge.settled()
            bob.privmsg("#den", "back")
            await bridge.until(lambda: "back" in shown())
            assert shown() == ["hello Matrix", "read 1", "read 2", "back"]
    finally:
        await bob.close()
        await carl.close()
