"""Private chats, rooms that existed before, commands, look-ups and links to files, through a real Synapse."""

import re
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from bridge_core.demo.matrix_client import MatrixClient, MatrixError
from bridge_core.demo.ports import free_port
from tests.real import BOT, DOMAIN, Ground, Servers, Town, alias, ghost
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

both = pytest.mark.parametrize("network", ["insps", "ng"])
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
LINK = re.compile(r"<(http://127\.0\.0\.1:\d+/\S+)>")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(
    ground: Ground, servers: tuple[InspIRCd, NgIRCd], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """A bridge that also serves links to files."""
    networks: Servers = {"insps": (servers[0], {"tls": True}), "ng": (servers[1], {})}
    port = free_port()
    media = {
        "enabled": True,
        "listen": f"127.0.0.1:{port}",
        "public_url": f"http://127.0.0.1:{port}",
        "secret": secrets.token_hex(32),
    }
    async with Town(ground, tmp_path_factory.mktemp("town"), networks, media=media) as town:
        yield town


async def office(town: Town, user: MatrixClient) -> str:
    """A new management room, in the place of the one before: a user has one."""
    before = town.offices.pop(user.user_id, None)
    if before is not None:
        await user.leave(before)
    room = town.offices[user.user_id] = await user.create_room(preset="private_chat", invite=[BOT])
    await town.notice(user, room, "This is your management room")
    return room


@both
async def test_a_private_message_from_irc(town: Town, network: str) -> None:
    """Who writes to a user's nick comes into a room of the two, and the answer goes back to them alone."""
    place = await town.place(network)
    nick = await town.puppet(place, town.alice)
    stranger = await town.witness(network, f"str{next(town.ground.numbers)}")
    stranger.privmsg(nick, "psst, only you")
    room = await town.alice.join(await town.alice.wait_for_invite())
    await town.alice.wait_for_message(room, "psst, only you", sender=ghost(network, stranger.nick))
    assert set(await town.alice.members(room)) == {BOT, town.alice.user_id, ghost(network, stranger.nick)}
    assert await town.alice.get_state(room, "m.room.join_rules") == {"join_rule": "invite"}
    with pytest.raises(MatrixError):
        await town.bob.join(room)
    await town.alice.send_text(room, "what is it?")
    line = await stranger.wait_text("what is it?")
    assert (line.nick, line.command, line.params[0]) == (nick, "PRIVMSG", stranger.nick)
    stranger.action(nick, "winks")
    winks = await town.alice.wait_for_message(room, "winks")
    assert winks["content"]["msgtype"] == "m.emote"
    await place.witness.sync()
    assert not any("what is it" in line.text for line in place.witness.lines)


@both
async def test_a_private_message_from_matrix(town: Town, network: str) -> None:
    """`chat` opens a room with somebody on IRC; inviting their ghost into a room of two does as well."""
    place = await town.place(network)
    nick = await town.puppet(place, town.bob)
    friend = await town.witness(network, f"fr{next(town.ground.numbers)}")
    desk = await office(town, town.bob)
    await town.bob.send_text(desk, f"chat {network} {friend.nick}")
    await town.notice(town.bob, desk, "You are invited to !")
    room = await town.bob.join(await town.bob.wait_for_invite())
    await town.bob.send_text(room, "are you there?")
    assert (await friend.wait_text("are you there?")).nick == nick
    friend.privmsg(nick, "I am")
    await town.bob.wait_for_message(room, "I am", sender=ghost(network, friend.nick))
    other = await town.bob.create_room(preset="private_chat", is_direct=True, invite=[ghost(network, friend.nick)])
    await town.bob.wait_for(
        lambda e: (
            e["room_id"] == other
            and e.get("state_key") == ghost(network, friend.nick)
            and e["content"]["membership"] == "join"
        )
    )
    await town.bob.send_text(other, "here too?")
    await friend.wait_text("here too?")


@both
async def test_a_room_that_was_there_is_plumbed(town: Town, network: str) -> None:
    """`!bridge bridge` joins room and channel for those who may change the room; `unbridge` ends it."""
    witness, channel = await town.witness(network), f"#pl{next(town.ground.numbers)}"
    await witness.join(channel)
    room = await town.alice.create_room(preset="public_chat", invite=[BOT], name="Old friends")
    await town.alice.wait_for(lambda e: e["room_id"] == room and e.get("state_key") == BOT)
    await town.bob.join(room)
    refused = await town.bob.send_text(room, f"!bridge bridge {network} {channel}")
    await town.notice(town.bob, room, "you may not change this room's settings", about=refused)
    await town.alice.send_text(room, f"!bridge bridge {network} {channel}")
    await town.notice(town.alice, room, f"now bridged to {channel} on {network}")
    assert await town.alice.get_state(room, "m.room.name") == {"name": "Old friends"}
    await witness.wait_for(lambda line: line.command == "JOIN" and town.is_relay(network, line.nick))
    witness.privmsg(channel, "hello, old room")
    await town.alice.wait_for_message(room, "hello, old room", sender=ghost(network, witness.nick))
    await town.bob.send_text(room, "hello, channel")
    await witness.wait_text("hello, channel", channel)
    mark = witness.mark()
    await town.alice.send_text(room, "!bridge unbridge")
    await town.notice(town.alice, room, "bridged no more")
    await witness.wait_for(
        lambda line: line.command == "PART" and town.is_relay(network, line.nick) and line.params[0] == channel,
        since=mark,
    )
    witness.privmsg(channel, "anybody?")
    await town.alice.send_text(room, "alone at last")
    await town.alice.wait_for(
        lambda e: e["room_id"] == room and e.get("state_key") == BOT and e["content"]["membership"] == "leave"
    )
    await town.harness.settled()
    assert witness.messages(channel, mark) == []
    assert "anybody?" not in [event["content"].get("body") for event in await town.alice.messages(room)]


async def test_commands_are_answered_by_level(town: Town) -> None:
    """Each command answers in words; what somebody may not do is neither listed for them nor done."""
    desk = await office(town, town.bob)
    for text, answer in (
        ("help", "chat NETWORK PERSON... - open a private chat"),
        ("status", "insps (insps): connected"),
        ("status", "ng (ng): connected"),
        ("list ng", f"{town.free['ng'][0]}: "),
        ("portal ng #secret", "You may not use portal: it needs the level admin."),
        ("bridge ng", "Write it as: bridge NETWORK CHAT"),
        ("dance", "I do not know that command"),
        ("chat nowhere someone", "That did not work: there is no network nowhere"),
        ("chat ng not,a,nick", "That did not work"),
        ("!bridge unbridge", "This room is not bridged."),
    ):
        event = await town.bob.send_text(desk, text)
        told = await town.notice(town.bob, desk, answer, about=event)
        assert text != "help" or "portal" not in told["content"]["body"]
    await town.command("portal ng #bad,name", "That did not work: a channel's name holds no spaces, commas")


async def test_invitations_of_others_are_not_followed(town: Town) -> None:
    """The bot comes only to those who may use the bridge for themselves."""
    refused = await town.carol.create_room(preset="private_chat", invite=[BOT])
    await office(town, town.bob)  # what is invited later is handled later
    await town.harness.settled()
    member = await town.carol.get_state(refused, "m.room.member", BOT)
    assert member is not None and member["membership"] == "invite"


@both
async def test_third_party_lookups(town: Town, network: str) -> None:
    """A client finds channels and people of IRC through its homeserver."""
    place = await town.place(network)
    place.witness.privmsg(place.channel, "here I am")
    await town.alice.wait_for_message(place.room, "here I am")

    async def ask(path: str, **query: str) -> Any:
        url = f"{town.ground.synapse.url}/_matrix/client/v3/thirdparty/{path}"
        headers = {"Authorization": f"Bearer {town.ground.passes['alice']}"}
        async with aiohttp.ClientSession() as session, session.get(url, params=query, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    protocols = await ask("protocols")
    assert {one["network_id"] for one in protocols["irc"]["instances"]} == {"insps", "ng"}
    assert (await ask("protocol/irc"))["location_fields"] == ["chat"]
    (location,) = await ask("location/irc", network=network, chat=place.channel.upper())
    assert (location["alias"], location["protocol"]) == (alias(network, place.channel), "irc")
    (user,) = await ask("user/irc", network=network, name=place.witness.nick.upper())
    assert user["userid"] == ghost(network, place.witness.nick)
    assert await ask("user/irc", network=network, name="nobody-of-that-name") == []
    assert await ask("location/irc", network=network, chat="#nowhere-at-all") == []


@both
async def test_files_for_irc_are_links(town: Town, network: str) -> None:
    """A file is a signed link on IRC: it serves the file, not another, and nothing once the message is redacted."""
    place = await town.place(network)
    await town.puppet(place, town.alice)
    mxc = await town.alice.upload(PNG, "image/png", "two cats.png")
    info = {"mimetype": "image/png", "size": len(PNG)}
    event = await town.alice.send(place.room, {"msgtype": "m.image", "body": "two cats.png", "url": mxc, "info": info})
    line = await place.witness.wait_for(lambda line: LINK.search(line.text) is not None)
    found = LINK.search(line.text)
    assert found is not None and line.text.startswith("two cats.png (2 KiB) <")
    url = found[1]

    async def get(address: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        async with aiohttp.ClientSession() as session, session.request(method, address) as response:
            return response.status, await response.read(), {k.lower(): v for k, v in response.headers.items()}

    status, data, headers = await get(url)
    assert (status, data) == (200, PNG)
    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    head, _, token_and_name = url.partition("/media/")
    token, _, name = token_and_name.partition("/")
    changed = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    for wrong in (
        f"{head}/media/{changed}/{name}",
        f"{head}/media/{token}/other.html",
        f"{head}/media/{token[:-4]}/{name}",
    ):
        assert (await get(wrong))[0] == 404
    assert (await get(url, "POST"))[0] == 405
    await town.alice.redact(place.room, event)
    await place.witness.wait_text("took back", place.channel)
    assert (await get(url))[0] == 410
    assert quote(mxc) not in url and DOMAIN not in url
