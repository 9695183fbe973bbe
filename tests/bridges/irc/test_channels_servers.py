"""Channels on real servers: their modes, lists and keys are read as they are, and what they refuse is said."""

from typing import Any

import pytest

from bridge_core.api.errors import RejectedError
from bridge_core.api.events import Membership, RemoteMember
from bridge_core.api.ids import RemoteUserId
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.rig import FakeAttempt, Rig, StartRig, confirmed, eventually, make_op, real
from tests.bridges.irc.test_channels import CHAT, ban, of, rules

pytestmark = pytest.mark.server


async def owned(rig: StartRig, ircd: Any, **config: Any) -> tuple[Rig, Witness]:
    """An adapter in a channel whose operator is a witness."""
    server = await real(ircd)
    boss = await Rig(server.port).witness("boss", "#a")
    await make_op(server, boss, "#a")
    adapter = await rig(server.port, **config)
    adapter.witnesses.append(boss)
    return adapter, boss


async def test_a_channel_is_as_open_as_its_server_says(rig: StartRig, ircd: Any) -> None:
    """Moderated, invited only, keyed, secret: each is told when it is set and when it is taken off."""
    adapter, boss = await owned(rig, ircd)
    await adapter.inbox.until(lambda: bool(rules(adapter)))
    for words, told in (
        ("+m", ("public", 1, True)),
        ("-m+i", ("invite", 0, True)),
        ("-i+s", ("public", 0, False)),
        ("-s", ("public", 0, True)),
    ):
        boss.raw(f"MODE #a {words}")
        await adapter.inbox.until(lambda told=told: rules(adapter)[-1] == told)  # type: ignore[misc]


async def test_a_ban_stops_who_it_names_until_it_is_lifted(rig: StartRig, ircd: Any) -> None:
    """A user whom a mask names cannot speak and is told so; an exception lets them, and so does the mask's end."""
    adapter, boss = await owned(rig, ircd)
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.say(anna, "before")
    lists = adapter.observer._state.lists
    await eventually(lambda: lists.known(CHAT, "b"))
    boss.raw("MODE #a +b anna!*@*")
    await eventually(lambda: any(True for _ in lists.rows(CHAT, "b")))
    with pytest.raises(RejectedError):
        await adapter.say(anna, "no")
    boss.raw("MODE #a -b anna!*@*")
    await eventually(lambda: not any(True for _ in lists.rows(CHAT, "b")))
    await adapter.say(anna, "after")
    await boss.wait_text("after")
    assert not [line for line in boss.lines if line.text == "no"]


async def test_a_ban_from_matrix_keeps_its_mask(rig: StartRig, ircd: Any) -> None:
    """A ban by an operator on Matrix keeps the person out though they change their nick; lifted on IRC it is lifted."""
    adapter, boss = await owned(rig, ircd, relay_moderation=True)
    boss.raw("MODE #a +o relay")
    bob = await adapter.witness("bob", "#a")
    roster = adapter.observer._state.roster
    await eventually(lambda: (me := roster.get("relay")) is not None and "o" in me.channels.get(CHAT, ""))
    await eventually(lambda: (who := roster.get("bob")) is not None and bool(who.host))
    await confirmed(await adapter.observer.moderate(ban(Membership.BAN, "bob"), FakeAttempt()))
    await bob.wait_for(lambda line: line.command == "KICK")
    (mask,) = adapter.observer._state.sanctions.masks(CHAT, RemoteUserId("bob"))
    assert not mask.startswith("bob!"), "hosts are known: the nick is not what is banned"
    bob.raw("NICK robert")
    bob.raw("JOIN #a")
    await bob.wait_for(lambda line: line.command == "474")
    boss.raw(f"MODE #a -b {mask}")
    await adapter.inbox.until(lambda: of(adapter, RemoteMember)[-1].membership is Membership.UNBAN)
    await bob.join("#a")


async def test_a_key_is_learnt_where_it_is_seen(rig: StartRig, ircd: Any) -> None:
    """A key that is set while the bot is there opens the channel to it and to users later."""
    adapter, boss = await owned(rig, ircd)
    await adapter.inbox.until(lambda: bool(rules(adapter)))
    boss.raw("MODE #a +k sesame")
    await eventually(lambda: adapter.observer._state.keys.of(CHAT) == "sesame")
    await adapter.inbox.until(lambda: rules(adapter)[-1][0] == "invite")
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    await adapter.say(anna, "inside")
    session = adapter.observer._session
    assert session is not None
    mark = boss.mark()
    await session.close("again")
    await boss.wait_for(lambda line: line.command == "JOIN" and line.nick == "relay", since=mark)
