"""Bans, kills and throttles of real servers without services: each is told apart, and stops who it is meant for."""

import asyncio
from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import ChatId, LoginId
from bridge_core.api.network import LoginStatus
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import Rig, StartRig, eventually
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

pytestmark = pytest.mark.server
ANNA, CARL = "@anna:hs.test", "@carl:hs.test"
CHAT = ChatId("#a")
OWN = {"prefix": "127.16.0.0/12", "block": 24}
"""Addresses that any Linux has: those of the loopback network."""


async def oper(adapter: Rig) -> Witness:
    """Somebody of the network's staff."""
    witness = await adapter.witness("staff")
    witness.raw("OPER op oppw")
    await witness.wait_for(lambda line: line.command == "381")
    return witness


async def banned(adapter: Rig, words: str) -> None:
    """Anna is not wanted, is told so, and is not tried again; Carl and the relay go on."""
    state = await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    assert words in state.reason
    with pytest.raises(RejectedError, match="banned from this network"):
        await adapter.puppets[ANNA].prepare(CHAT)
    await adapter.puppet(CARL)
    await adapter.relay("the relay goes on")
    await adapter.say(adapter.puppets[CARL], "and so does Carl")


async def test_a_k_line_ends_one_users_connection(rig: StartRig, ircd: Any) -> None:
    """A ban on user and host: who is connected is out, or never gets in; it is remembered as what it is."""
    adapter = await rig(ircd.port)
    staff = await oper(adapter)
    if isinstance(ircd, InspIRCd):
        await adapter.puppet(ANNA)
        staff.raw("KLINE anna@* 1h :no bridging for you")
    else:  # ngIRCd looks at its list when somebody comes
        staff.raw("KLINE *!*anna@* 3600 :no bridging for you")
        await staff.sync()
        await (await adapter.make_puppet(ANNA)).prepare(CHAT)
    await banned(adapter, "no bridging for you" if isinstance(ircd, InspIRCd) else "")
    ban = adapter.connector._state.bans.all()[LoginId(ANNA)]
    assert ban.kind in ("K-line", "")


async def test_a_g_line_is_of_the_whole_network(rig: StartRig, ircd: Any) -> None:
    """The same for a ban that all servers of the network keep."""
    adapter = await rig(ircd.port)
    staff = await oper(adapter)
    staff.raw("GLINE anna@* 1h :spam" if isinstance(ircd, InspIRCd) else "GLINE *!*anna@* 3600 :spam")
    await staff.sync()
    await (await adapter.make_puppet(ANNA)).prepare(CHAT)
    await banned(adapter, "")


async def test_a_z_line_is_of_an_address(rig: StartRig, inspircd: InspIRCd) -> None:
    """A ban of the address that one user has to themselves stops them, before they said a word, and nobody else."""
    adapter = await rig(inspircd.port, addresses=OWN)
    staff = await oper(adapter)
    await adapter.puppet(ANNA)
    staff.raw("ZLINE 127.16.1.1 1h :proxy")
    await banned(adapter, "proxy")
    assert adapter.connector._state.bans.of_address(ANNA) is not None
    assert adapter.connector._state.bans.of(LoginId(ANNA)) is None


async def test_a_kill_is_no_ban(rig: StartRig, ircd: Any) -> None:
    """Whom staff disconnect may come again after a while, and is not relayed meanwhile."""
    adapter = await rig(ircd.port, connects={"kill_pause": 3})
    staff = await oper(adapter)
    anna = await adapter.puppet(ANNA)
    assert anna._session is not None
    staff.raw(f"KILL {anna._session.nick} :calm down")
    state = await adapter.inbox.status(LoginStatus.BANNED, ANNA)
    assert "calm down" in state.reason
    await eventually(lambda: adapter.connector._state.bans.of(LoginId(ANNA)) is None)
    await adapter.puppet(ANNA)


async def test_a_throttle_bans_nobody(rig: StartRig, inspircd: InspIRCd) -> None:
    """Too many connections from one address: InspIRCd calls it a Z-line; who has the address waits."""
    inspircd.modules.append("connectban")
    inspircd.config = '<connectban threshold="4" duration="5s" ipv4cidr="32" bootwait="0">'
    inspircd.use_connectban = True
    await inspircd.restart()
    adapter = await rig(inspircd.port, addresses=OWN, connects={"throttle_pause": 8})
    anna = await adapter.make_puppet(ANNA)
    assert await adapter.connector._state.access.address(anna._login.user) is not None
    for _ in range(6):
        _, writer = await asyncio.open_connection(inspircd.host, inspircd.port, local_addr=("127.16.1.1", 0))
        writer.close()
    await anna.prepare(CHAT)
    await adapter.inbox.status(LoginStatus.DISCONNECTED, ANNA)
    assert adapter.connector._state.bans.held(ANNA) is not None
    assert adapter.connector._state.bans.all() == {}
    await adapter.puppet(CARL)
    await eventually(lambda: anna.ready(CHAT))


async def test_a_banned_bot_waits(rig: StartRig, ircd: Any) -> None:
    """A ban of the bot itself: it stays away, in the server's words, until an admin forgives."""
    adapter = await rig(ircd.port, username="bridge")
    staff = await oper(adapter)
    if isinstance(ircd, InspIRCd):
        staff.raw("KLINE bridge@* 1h :who are you?")
    else:
        staff.raw("KLINE *!*bridge@* 3600 :who are you?")
        staff.raw("KILL relay :who are you?")
    await adapter.inbox.status(LoginStatus.BANNED)
    ban = adapter.connector._state.bans.of_bot()
    assert ban is not None
    staff.raw("KLINE bridge@*" if isinstance(ircd, InspIRCd) else "KLINE *!*bridge@*")
    await staff.sync()
    assert await adapter.connector._scheduler.forgive()
    await adapter.inbox.status(LoginStatus.CONNECTED, count=2)


async def test_an_address_that_is_full_is_waited_for(rig: StartRig, ngircd: NgIRCd) -> None:
    """With as many connections as ngIRCd gives to an address nobody is thrown out or banned; who leaves makes room."""
    ngircd.per_address = 3
    await ngircd.restart()
    adapter = await rig(ngircd.port)
    anna, carl = await adapter.puppet(ANNA), await adapter.puppet(CARL)
    dora = await adapter.make_puppet("@dora:hs.test")
    await dora.prepare(CHAT)
    state = await adapter.inbox.status(LoginStatus.DISCONNECTED, "@dora:hs.test")
    assert "too many connections" in state.reason.lower()
    assert adapter.connector._scheduler.counts == (1, 0, 2)
    assert adapter.connector._state.bans.all() == {}
    await adapter.say(carl, "still here")
    await anna.disconnect()
    await eventually(lambda: dora.ready(CHAT))
