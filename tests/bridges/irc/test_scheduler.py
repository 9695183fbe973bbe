"""Connections of many users: in order, at a pace, and each refusal answered by its cause."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, LoginId, UserId
from bridge_core.api.network import LoginStatus
from bridges.irc.demo.server import DemoIrcServer
from tests.bridges.irc.doorway import Doorway
from tests.bridges.irc.rig import Rig, StartRig, StartServer, eventually

ANNA, CARL = "@anna:hs.test", "@carl:hs.test"
CHAT = ChatId("#a")


@pytest_asyncio.fixture
async def server(serve: StartServer) -> DemoIrcServer:
    """A demo server."""
    return await serve()


@pytest_asyncio.fixture
async def door(server: DemoIrcServer) -> AsyncIterator[Doorway]:
    """The way to it."""
    assert server.port is not None
    async with Doorway(server.port) as door:
        yield door


async def refused(adapter: Rig, door: Doorway, *lines: str, user: str = ANNA) -> None:
    """Somebody asks for a connection and is told these lines."""
    door.refusal, door.only = list(lines), f"NICK {user[1:].partition(':')[0]}"
    before = door.refused
    client = adapter.puppets.get(user) or await adapter.make_puppet(user)
    await client.prepare(CHAT)
    await eventually(lambda: door.refused > before)


def bans_of(adapter: Rig) -> list[str]:
    """The keys of stored bans."""
    return [key for key in adapter.host.kv.values if key.startswith("banned")]


BANS = [
    ([":irc.test 465 anna :You are banned from this server- spam", "ERROR :Closing Link: h (K-Lined)"], "K-line"),
    (["ERROR :Closing link: (anna@h) [G-lined: spam]"], "G-line"),
    (["ERROR :Closing Link: h (Bad user info: spam)"], ""),
]


@pytest.mark.parametrize(("lines", "kind"), BANS)
async def test_a_banned_user_is_never_tried_again(
    rig: StartRig, server: DemoIrcServer, door: Doorway, lines: list[str], kind: str
) -> None:
    """K-line, G-line and X-line end it for one user, over restarts, until an admin says otherwise; others go on."""
    adapter = await rig(door.port)
    await refused(adapter, door, *lines)
    state = await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    assert "spam" in state.reason
    with pytest.raises(RejectedError, match=r"banned from this network: .*spam"):
        await adapter.puppets[ANNA].prepare(CHAT)
    await adapter.puppet(CARL)
    assert adapter.connector._bans.all()[LoginId(ANNA)].kind == kind
    again = Rig(door.port, nick="relay2")
    again.host.kv.values.update(adapter.host.kv.values)
    await again.start()
    with pytest.raises(RejectedError, match="spam"):
        await (await again.make_puppet(ANNA)).prepare(CHAT)
    assert door.came.count("anna") == 1
    door.refusal = []
    assert await again.connector._scheduler.forgive(LoginId(ANNA))
    assert not await again.connector._scheduler.forgive(LoginId(ANNA))
    await again.puppet(ANNA)
    await again.stop()


async def test_a_ban_of_the_common_address_is_nobodys_fault(
    rig: StartRig, server: DemoIrcServer, door: Doorway
) -> None:
    """A Z-line of the address that all share stops all connections, over restarts; the relay speaks for everybody."""
    adapter = await rig(door.port)
    await refused(adapter, door, "ERROR :Closing link: (anna@h) [Z-lined: proxy]")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    door.refusal = []
    for user in (ANNA, CARL):
        client = adapter.puppets.get(user) or await adapter.make_puppet(user)
        await client.prepare(CHAT)
        assert not client.ready(CHAT)
    assert adapter.connector._scheduler.counts == (0, 0, 0)
    assert bans_of(adapter) == ["banned-address/"]
    again = Rig(door.port, nick="relay2")
    again.host.kv.values.update(adapter.host.kv.values)
    await again.start()
    await (await again.make_puppet(ANNA)).prepare(CHAT)
    assert again.connector._scheduler.counts == (0, 0, 0)
    assert await again.connector._scheduler.forgive(LoginId(ANNA))
    await again.puppet(ANNA)
    await again.stop()


async def test_a_throttle_holds_the_address_and_nobody_is_lost(
    rig: StartRig, server: DemoIrcServer, door: Doorway
) -> None:
    """After `too fast` nobody tries until the pause is over, then one does, then all; nobody is banned for it."""
    adapter = await rig(door.port, connects={"throttle_pause": 0.5})
    clients = [await adapter.make_puppet(f"@u{number}:hs.test") for number in range(8)]
    await refused(adapter, door, "ERROR :Trying to reconnect too fast.")
    door.refusal = []
    for client in clients:
        await client.prepare(CHAT)
    assert len(server.world.clients) == 1
    await eventually(lambda: all(client.ready(CHAT) for client in [*clients, adapter.puppets[ANNA]]))
    assert door.came.count("anna") == 2
    assert bans_of(adapter) == []


async def test_a_full_class_is_waited_for_and_nobody_is_thrown_out(
    rig: StartRig, server: DemoIrcServer, door: Doorway
) -> None:
    """With a full connection class those who are connected stay; one that leaves lets the next one in."""
    adapter = await rig(door.port)
    anna = await adapter.puppet(ANNA)
    await refused(
        adapter, door, "ERROR :Closing Link: h (No more connections allowed in your connection class)", user=CARL
    )
    await adapter.inbox.status(LoginStatus.DISCONNECTED, CARL)
    door.refusal = []
    dora = await adapter.make_puppet("@dora:hs.test")
    for client in (dora, adapter.puppets[CARL]):
        await client.prepare(CHAT)
    await adapter.say(anna, "still here")
    assert door.came.count("carl") == 1
    assert door.came.count("dora") == 0
    await anna.disconnect()
    await eventually(lambda: dora.ready(CHAT) and adapter.puppets[CARL].ready(CHAT))


async def test_a_full_server_is_tried_again_soon(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """A server that is full holds everybody for a short while only: another server may answer then."""
    adapter = await rig(door.port)
    await refused(adapter, door, "ERROR :Closing Link: h (Sorry, server is full - try later)")
    door.refusal = []
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))


async def test_a_kill_is_a_pause(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """Whom staff disconnect stays away for a while, is not relayed meanwhile, and may come again."""
    adapter = await rig(door.port, connects={"kill_pause": 0.4})
    anna = await adapter.puppet(ANNA)
    server.kill("anna", "Killed (oper (calm down))")
    await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    with pytest.raises(RejectedError, match="calm down"):
        await anna.prepare(CHAT)
    await eventually(lambda: _may_come(adapter, ANNA))
    await adapter.puppet(ANNA)


def _may_come(adapter: Rig, user: str) -> bool:
    return adapter.connector._bans.of(LoginId(user)) is None


async def test_a_bans_words_after_465_are_waited_for(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """A connection ban of minutes, which InspIRCd announces as 465 and Z-line, is a throttle and bans nobody."""
    adapter = await rig(door.port, connects={"throttle_pause": 0.3})
    text = "Your IP range has been attempting to connect too many times in too short a duration."
    await refused(
        adapter, door, ":s 465 anna :You are banned from this server", f"ERROR :Closing link: [Z-lined: {text}]"
    )
    door.refusal = []
    await eventually(lambda: adapter.puppets[ANNA].ready(CHAT))
    assert bans_of(adapter) == []


async def test_several_bans_in_a_row_are_put_down_to_the_address(
    rig: StartRig, server: DemoIrcServer, door: Doorway
) -> None:
    """When three users of one address are banned in a row, the others are not tried one by one."""
    adapter = await rig(door.port)
    door.refusal = ["ERROR :Closing Link: h (K-Lined)"]
    door.only = "NICK u"
    clients = [await adapter.make_puppet(f"@u{number}:hs.test") for number in range(8)]
    for number, client in enumerate(clients[:3]):
        await client.prepare(CHAT)
        await adapter.inbox.status(LoginStatus.BANNED, f"@u{number}:hs.test")
    for client in clients[3:]:
        await client.prepare(CHAT)
    await adapter.relay("the relay goes on")
    assert door.refused == 3
    assert adapter.connector._scheduler.counts == (5, 0, 0)


async def test_after_a_restart_of_the_server_the_active_come_first(
    rig: StartRig, server: DemoIrcServer, door: Doorway
) -> None:
    """The relay returns alone, then who spoke last, at the configured pace; who was idle for long waits to speak."""
    adapter = await rig(door.port, connect_rate=20, connect_burst=1, connects={"active": 100.0, "opening": 1})
    for number in range(8):
        await adapter.puppet(f"@u{number}:hs.test")
    for number in (2, 5, 3):
        await adapter.say(adapter.puppets[f"@u{number}:hs.test"], "I am here")
    for number in (0, 1):
        adapter.puppets[f"@u{number}:hs.test"]._used_at -= 1000.0
    await server.stop()
    schedule = adapter.connector._scheduler._schedule
    await eventually(lambda: not schedule.reachable and adapter.connector._scheduler.counts == (6, 0, 0))
    door.came.clear()  # until the relay had noticed, users tried too
    waits = max(puppet._retry_at for puppet in adapter.puppets.values())
    await eventually(lambda: adapter.host.clock.monotonic() > waits)
    await server.start()
    await eventually(lambda: len(server.world.clients) == 7)
    assert [nick for nick in door.came if nick == "relay"] == door.came[:-6]
    assert door.came[-6:-3] == ["u3", "u5", "u2"]
    assert set(door.came[-3:]) == {"u4", "u6", "u7"}
    assert not adapter.puppets["@u0:hs.test"].ready(CHAT)
    await adapter.puppet("@u0:hs.test")


async def test_all_come_back_where_that_is_configured(rig: StartRig, server: DemoIrcServer) -> None:
    """With `again: all` idle users return as well, after the active ones; with `needed` nobody does by themselves."""
    adapter = await rig(server.port, connects={"again": "all"})
    for user in (ANNA, CARL):
        await adapter.puppet(user)
    adapter.puppets[ANNA]._used_at -= 10_000.0
    for user in (ANNA, CARL):
        server.drop(user[1:5])
    await eventually(lambda: all(puppet.ready(CHAT) for puppet in adapter.puppets.values()))


async def test_the_line_is_bounded(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """Who finds the line full is relayed, and gets a connection when they speak after it has become shorter."""
    adapter = await rig(door.port, max_puppets=1, connects={"waiting": 1})
    await adapter.puppet(ANNA)
    for user in (CARL, "@dora:hs.test"):
        await (await adapter.make_puppet(user)).prepare(CHAT)
    assert adapter.connector._scheduler.counts == (1, 0, 1)
    await adapter.puppets[ANNA].disconnect()
    await adapter.puppet(CARL)
    await adapter.puppets[CARL].disconnect()
    await adapter.puppet("@dora:hs.test")


async def test_a_throttle_is_remembered_over_a_restart(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """A bridge that is started again while the network throttles its address waits on; the bot is one connection."""
    adapter = await rig(door.port, connects={"throttle_pause": 300})
    await refused(adapter, door, "ERROR :Trying to reconnect too fast.")
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    door.refusal = []
    again = Rig(door.port, nick="relay2", connects={"throttle_pause": 300})
    again.host.kv.values.update(adapter.host.kv.values)
    await again.start()
    for user in (ANNA, CARL):
        await (await again.make_puppet(user)).prepare(CHAT)
    await again.relay("the relay speaks")
    assert again.connector._scheduler.counts == (2, 0, 0)
    assert again.connector._scheduler._rows[""].throttles == 1
    assert await again.connector._scheduler.forgive()
    await again.puppet(ANNA)
    await again.puppet(CARL)
    await again.stop()


AWAY = [
    ("ERROR :Closing Link: h (K-Lined)", "K-line", LoginStatus.BANNED, 86400),
    ("ERROR :Closing link: (relay@h) [Z-lined: proxy]", "Z-line", LoginStatus.BANNED, 86400),
    ("ERROR :Closing Link: h (Bad user info: spam)", "", LoginStatus.BANNED, 86400),
    ("ERROR :Trying to reconnect too fast.", "throttle", LoginStatus.DISCONNECTED, 60),
]


@pytest.mark.parametrize(("line", "kind", "status", "seconds"), AWAY)
async def test_a_banned_bot_stays_away(
    rig: StartRig, server: DemoIrcServer, door: Doorway, line: str, kind: str, status: LoginStatus, seconds: int
) -> None:
    """What keeps the bot away lasts as long as configured, over restarts, until an admin forgives; then it is back."""
    adapter = await rig(door.port)
    door.refusal = [line]
    server.drop("relay")
    await adapter.inbox.until(lambda: door.refused == 1 and adapter.inbox.states[-1].status is status)
    bans = adapter.connector._state.bans
    ban = bans.of_bot()
    assert ban is not None
    assert ban.kind == kind
    assert seconds - 60 < bans.left(ban) <= seconds
    again = Rig(door.port, nick="relay2")
    again.host.kv.values.update(adapter.host.kv.values)
    await again.connector.start(again.host, again.inbox)  # type: ignore[arg-type]
    again.observer = again.connector.client(None, again.inbox)  # type: ignore[assignment]
    await again.observer.connect(None)
    state = await again.inbox.status(status)
    assert state.reason == ban.reason
    assert door.refused == 1, "neither of them has tried again"
    commands = {command.name: command for command in adapter.connector.commands()}
    listed = await commands["network-bans"].run(CommandCall(UserId("@admin:hs.test"), CommandLevel.ADMIN, {}))
    assert f"The network keeps the bot away for {seconds // 3600 or 1} " in listed and ban.reason in listed
    door.refusal = []
    for one in (adapter, again):
        before = len(one.inbox.states)
        forgive = {command.name: command for command in one.connector.commands()}["forgive"]
        await forgive.run(CommandCall(UserId("@admin:hs.test"), CommandLevel.ADMIN, {}))
        await one.inbox.until(
            lambda one=one, before=before: any(  # type: ignore[misc]
                state.status is LoginStatus.CONNECTED for state in one.inbox.states[before:]
            )
        )
    assert not bans_of(adapter)
    await again.stop()


async def test_a_killed_bot_is_gone_for_a_while(rig: StartRig, server: DemoIrcServer, door: Doorway) -> None:
    """Whoever of the staff kills the bot has quiet for `kill_pause`; then it is there again by itself."""
    adapter = await rig(door.port, connects={"kill_pause": 0.5})
    server.kill("relay", "Killed (oper (quiet))")
    state = await adapter.inbox.status(LoginStatus.BANNED)
    assert "quiet" in state.reason
    ban = adapter.connector._state.bans.of_bot()
    assert ban is None or ban.kind == "kill"
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)
