"""Netsplits of the demo server's network, over real sockets (IRCv3 netsplit and netjoin batches)."""

from __future__ import annotations

import pytest

from tests.bridges.irc.demo_rig import Connect, Start, batch, numeric


async def test_a_split_quits_in_a_batch_and_a_join_brings_back(start: Start, connect: Connect) -> None:
    """Those who stay see one batch of quits, then one of joins and statuses; both name the two servers."""
    server = await start()
    near = await connect(server, "near", "batch")
    far, far2 = await connect(server, "far"), await connect(server, "far2")
    for channel in ("#a", "#b"):
        for witness in (near, far, far2):
            await witness.join(channel)
    near.raw("MODE #a +o far")
    await near.sync()
    server.split("far", "far2", server="leaf.demo")
    opening, quits = await batch(near, "netsplit")
    assert opening.params[2:] == ("irc.demo", "leaf.demo")
    assert [(line.nick, line.text) for line in quits] == [
        ("far", "irc.demo leaf.demo"),
        ("far2", "irc.demo leaf.demo"),
    ]
    server.heal()
    opening, lines = await batch(near, "netjoin")
    assert opening.params[2:] == ("irc.demo", "leaf.demo")
    joins = sorted((line.params[0], line.nick) for line in lines if line.command == "JOIN")
    assert joins == [("#a", "far"), ("#a", "far2"), ("#b", "far"), ("#b", "far2")]
    assert [line.params for line in lines if line.command == "MODE"] == [("#a", "+o", "far")]
    far.privmsg("#a", "back")
    await near.wait_text("back", "#a")


async def test_each_side_talks_for_itself(start: Start, connect: Connect) -> None:
    """While split, messages stay on their side, and a nick of the other side is free."""
    server = await start()
    near, far = await connect(server, "near"), await connect(server, "far")
    other = await connect(server, "other")
    for witness in (near, far, other):
        await witness.join("#a")
    server.split("far", "other")
    assert (await far.wait_for(lambda r: r.command == "QUIT" and r.nick == "near")).text == "irc.demo far.demo"
    assert not any(line.command == "BATCH" for line in far.lines)
    far.privmsg("#a", "only here")
    await other.wait_text("only here")
    near.privmsg("far", "are you there?")
    await near.wait_for(numeric("401"))
    assert near.messages("#a") == []


async def test_a_nick_taken_on_both_sides_collides(start: Start, connect: Connect) -> None:
    """When the sides join, the far one of two with the same nick is killed."""
    server = await start()
    far = await connect(server, "anna")
    await far.join("#a")
    server.split("anna")
    near = await connect(server, "anna")
    server.heal()
    await far.wait_closed()
    await near.sync()
    assert len(server.world.clients) == 1


async def test_a_split_network_stops_cleanly_and_splits_once(start: Start, connect: Connect) -> None:
    """A second split is refused, and stopping closes the far side too."""
    server = await start()
    far, near = await connect(server, "far"), await connect(server, "near")
    server.split("far")
    with pytest.raises(ValueError, match="split already"):
        server.split("near")
    await server.stop()
    await far.wait_closed()
    await near.wait_closed()
