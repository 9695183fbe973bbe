"""The relay speaks for who is not active; who is gets a connection of their own, and loses nothing on the way."""

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import RemoteMember
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.network import LoginStatus
from bridges.irc.standings import Standings
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, StartServer, confirmed, eventually

ANNA = "@anna:hs.test"
CHAT = ChatId("#a")


async def speak(adapter: Rig, text: str, user: str = ANNA) -> bool:
    """Says something as the core does: by the puppet if it is ready, else by the relay. Whether it was relayed."""
    puppet = adapter.puppets.get(user) or await adapter.make_puppet(user)
    if puppet.ready(CHAT):
        await confirmed(await puppet.send(adapter.message(text), FakeAttempt()))
        return False
    await puppet.prepare(CHAT)
    await adapter.relay(text)
    return True


async def choose(adapter: Rig, choice: str = "") -> str:
    """Gives the command as a user does."""
    command = next(one for one in adapter.connector.commands() if one.name == "connection")
    return await command.run(CommandCall(UserId(ANNA), CommandLevel.USER, {"choice": choice} if choice else {}))


async def test_the_relay_speaks_until_a_user_is_active(rig: StartRig, serve: StartServer) -> None:
    """The third message asks for a connection and is relayed itself; the order of all is kept on IRC."""
    server = await serve()
    adapter = await rig(server.port, hybrid={})  # as it is where nobody configures it
    bob = await adapter.witness("Bob", "#a")
    for number in range(2):
        assert await speak(adapter, f"n{number}")
        assert adapter.connector._scheduler.counts == (0, 0, 0)
    assert await speak(adapter, "n2")
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))
    assert not await speak(adapter, "n3")
    await bob.wait_text("n3")
    said = [line for line in bob.lines if line.command == "PRIVMSG"]
    assert [line.params[-1][-2:] for line in said] == ["n0", "n1", "n2", "n3"]
    assert [line.nick for line in said] == ["relay", "relay", "relay", "anna"]


async def test_a_connection_that_fails_loses_nothing(rig: StartRig, serve: StartServer) -> None:
    """While the network lets the user not in, the relay goes on; later messages go by the own connection in order."""
    server = await serve()
    adapter = await rig(server.port, hybrid={"puppet": "active", "messages": 1})
    bob = await adapter.witness("Bob", "#a")
    server.faults.refuse_connections = True
    for number in range(3):
        assert await speak(adapter, f"n{number}")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    server.faults.refuse_connections = False
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))
    assert not await speak(adapter, "n3")
    await bob.wait_text("n3")
    said = [line.params[-1][-2:] for line in bob.lines if line.command == "PRIVMSG"]
    assert said == ["n0", "n1", "n2", "n3"]


async def test_idle_users_are_relayed_again_and_stay_in_their_rooms(rig: StartRig, serve: StartServer) -> None:
    """Who was idle loses the connection and nothing else; they are counted anew, also by the next process."""
    server = await serve()
    adapter = await rig(server.port, hybrid={"puppet": "active", "messages": 2}, idle=0.4)
    await speak(adapter, "one")
    await speak(adapter, "two")
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))
    assert adapter.host.kv.values[f"standing/{ANNA}"] == b"active"
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    assert f"standing/{ANNA}" not in adapter.host.kv.values
    assert await speak(adapter, "three")
    assert adapter.connector._scheduler.counts == (0, 0, 0)
    assert not [event for event in adapter.inbox.events if isinstance(event, RemoteMember)]


async def test_who_is_active_stays_so_over_a_restart(rig: StartRig, serve: StartServer) -> None:
    """A stored standing counts: the first message after a restart asks for the connection."""
    server = await serve()
    adapter = await rig(server.port, hybrid={"puppet": "active", "messages": 1})
    await speak(adapter, "one")
    again = Rig(server.port or 0, nick="relay2", hybrid={"puppet": "active", "messages": 50})
    again.host.kv.values.update(adapter.host.kv.values)
    await again.start()
    await again.puppet(ANNA)
    await again.stop()


async def test_users_choose(rig: StartRig, serve: StartServer) -> None:
    """Own is from the next message on, relay never, auto by how active they are; nonsense is said to be so."""
    server = await serve()
    adapter = await rig(server.port, hybrid={"puppet": "active", "messages": 2})
    assert "until you are active" in await choose(adapter)
    assert "relay speaks for you." in await choose(adapter, "relay")
    for number in range(4):
        assert await speak(adapter, f"n{number}")
    assert adapter.connector._scheduler.counts == (0, 0, 0)
    assert "of your own" in await choose(adapter, "own")
    await speak(adapter, "now")
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))
    assert "until you are active" in await choose(adapter, "auto")
    with pytest.raises(RejectedError, match="own, relay or auto"):
        await choose(adapter, "maybe")


async def test_there_may_be_nothing_to_choose(rig: StartRig, serve: StartServer) -> None:
    """Where everybody has a connection, or nobody, the command says so; with never no login is provided."""
    adapter = await rig((await serve()).port, hybrid={"puppet": "never"})
    assert await adapter.connector.provide(UserId(ANNA), "Anna") is None
    with pytest.raises(RejectedError, match="the relay speaks"):
        await choose(adapter, "own")


async def test_messages_of_long_ago_do_not_count() -> None:
    """Only messages within the configured time make somebody active."""
    rig = Rig(6667, hybrid={"puppet": "active", "messages": 2, "within": 60})
    clock = rig.host.clock
    standings = Standings(rig.config.hybrid)
    await standings.load(rig.host)  # type: ignore[arg-type]
    now = clock.monotonic()
    for at, active in ((0.0, False), (100.0, False), (150.0, True)):
        clock.monotonic = lambda at=at: now + at  # type: ignore[method-assign, misc]
        assert await standings.spoke(LoginId(ANNA)) is active


async def test_admins_see_and_forgive_bans(rig: StartRig, serve: StartServer) -> None:
    """An admin reads whom the network banned and why, and lets them try again."""
    server = await serve()
    adapter = await rig(server.port)
    commands = {one.name: one for one in adapter.connector.commands()}
    for name in ("network-bans", "forgive"):
        assert commands[name].level is CommandLevel.ADMIN
    call = CommandCall(UserId("@admin:hs.test"), CommandLevel.ADMIN, {"user": ANNA})
    assert "Nobody is banned" in await commands["network-bans"].run(call)
    anna = await adapter.puppet(ANNA)
    server.kill("anna", "K-Lined: spam")
    await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    assert f"{ANNA}: K-line, " in await commands["network-bans"].run(call)
    await commands["forgive"].run(call)
    with pytest.raises(RejectedError, match="is banned"):
        await commands["forgive"].run(call)
    await adapter.puppet(ANNA)
    assert anna.ready(CHAT)
