"""Channels between a real Synapse and real IRC servers: puppets, the relay, text as it is, and what is refused."""

import pytest

from bridges.irc.demo.witness import Received
from tests.real import Town, alias, ghost

pytestmark = [pytest.mark.server, pytest.mark.asyncio(loop_scope="module")]

both = pytest.mark.parametrize("network", ["insps", "ng"])
HTML = "org.matrix.custom.html"
ZERO_WIDTH = "\u200b"


@pytest.mark.parametrize("network", ["insps", "insp", "ng"])
async def test_a_portal_is_entered_by_its_alias(town: Town, network: str) -> None:
    """The homeserver asks for the alias, and the room is there: named, open, and telling what it is bridged to."""
    channel, other = town.free[network].pop(), town.free[network].pop()
    room = await town.alice.join(alias(network, channel))
    assert await town.alice.get_state(room, "m.room.name") == {"name": channel}
    bridge = await town.alice.get_state(room, "m.bridge", f"dev.matrix_bridge://{network}/{channel}")
    assert bridge is not None
    assert (bridge["protocol"]["id"], bridge["network"]["id"], bridge["channel"]["id"]) == ("irc", network, channel)
    witness = await town.witness(network)
    await witness.join(channel)
    witness.privmsg(channel, "welcome")
    assert await town.alice.wait_for_message(room, "welcome", sender=ghost(network, witness.nick))
    assert (await town.alice.members(room))[ghost(network, witness.nick)] == witness.nick
    # Somebody on IRC may be first as well: the room is made for what they say.
    assert town.rooms(network, other) == ()
    await witness.join(other)
    witness.privmsg(other, "is anybody here?")
    await town.harness.until(lambda: town.rooms(network, other))
    assert (await town.alice.join(alias(network, other)),) == town.rooms(network, other)


@pytest.mark.parametrize("network", ["insps", "insp", "ng"])
async def test_a_user_speaks_under_their_own_nick(town: Town, network: str) -> None:
    """A user is given a connection: it appears in the channel under their name, and speaks there."""
    place = await town.place(network)
    nick = await town.puppet(place, town.alice)
    assert nick == ("alice-p" if network == "insp" else "alice")
    await town.alice.send_text(place.room, "as myself")
    line = await place.witness.wait_text("as myself", place.channel)
    assert (line.nick, line.command, line.text) == (nick, "PRIVMSG", "as myself")
    place.witness.raw(f"WHOIS {nick}")
    whois = await place.witness.wait_for(lambda line: line.command == "311" and line.params[1] == nick)
    assert whois.text == "@alice:hs.test"


@both
async def test_two_users_and_one_of_the_relay(town: Town, network: str) -> None:
    """Users with connections speak for themselves, others through the relay, and all see one another once."""
    place = await town.place(network)
    await town.carol.join(place.room)
    assert [await town.puppet(place, user) for user in (town.alice, town.bob)] == ["alice", "bob"]
    mark = place.witness.mark()
    for user, text in ((town.alice, "one"), (town.bob, "two"), (town.carol, "three")):
        await user.send_text(place.room, text)
    await place.witness.wait_text("three", place.channel, since=mark)
    heard = [(line.nick, line.text) for line in place.witness.messages(place.channel, mark)]
    assert sorted(heard) == [("alice", "one"), ("bob", "two"), ("brdg", f"<c{ZERO_WIDTH}arol> three")]
    place.witness.privmsg(place.channel, "I see three of you")
    await town.carol.wait_for_message(place.room, "I see three of you")
    await town.harness.settled()
    said = [event for event in await town.carol.messages(place.room) if event["type"] == "m.room.message"]
    bodies = [event["content"]["body"] for event in said]
    assert [body for body in bodies if not body.startswith("hello from")] == ["one", "two", "three", bodies[-1]]
    assert len(set(bodies)) == len(bodies)


@both
async def test_text_of_irc_arrives_as_it_is(town: Town, network: str) -> None:
    """UTF-8 and cp1252 are told apart, a line of 450 bytes is whole, colours and styles are formatted."""
    place = await town.place(network)
    target = place.channel.encode()
    place.witness.raw(b"PRIVMSG " + target + b" :caf\xe9 na\xefve \x80 \x93quoted\x94")
    place.witness.raw(b"PRIVMSG " + target + b" :" + "naïve ☃ 🎉".encode())
    long = "".join(f"{number:05}" for number in range(80)) + "ü" * 25
    assert len(long.encode()) == 450
    place.witness.privmsg(place.channel, long)
    place.witness.privmsg(place.channel, "\x0304,02red\x0f and \x02bold\x02, \x1ditalic\x1d, \x11code\x11")
    for body in ("café naïve € “quoted”", "naïve ☃ 🎉", long):
        await town.alice.wait_for_message(place.room, body, sender=ghost(network, place.witness.nick))
    event = await town.alice.wait_for(lambda e: e["room_id"] == place.room and "formatted_body" in e["content"])
    content = event["content"]
    assert content["body"].replace("*", "").replace("_", "").replace("`", "") == "red and bold, italic, code"
    assert 'data-mx-color="#' in content["formatted_body"] and 'data-mx-bg-color="#' in content["formatted_body"]
    assert all(f"{word}</" in content["formatted_body"] for word in ("red", "bold", "italic", "code"))
    assert "\x03" not in str(content) and "\x02" not in str(content)


@both
async def test_text_for_irc_fits_its_lines(town: Town, network: str) -> None:
    """A long text of many bytes arrives whole, in lines that the server cut nowhere; colours become codes."""
    place = await town.place(network)
    await town.puppet(place, town.alice)
    words = [f"w{number}é🎉" for number in range(120)]
    mark = place.witness.mark()
    await town.alice.send_text(place.room, " ".join(words))
    await town.alice.send(
        place.room,
        {
            "msgtype": "m.text",
            "body": "red",
            "format": HTML,
            "formatted_body": '<font data-mx-color="#ff0000">red</font> <b>bold</b>',
        },
    )
    last = await place.witness.wait_text("bold", place.channel, since=mark)
    *lines, _ = place.witness.messages(place.channel, mark)
    assert len(lines) > 2
    # Tags, which InspIRCd puts in front, have room of their own.
    assert max(len(line.raw[line.raw.index(b" :" if line.tags else b":") :]) for line in lines) <= 511
    assert " ".join(line.text for line in lines).split() == words
    assert last.text.startswith("\x03") and "\x02bold" in last.text


@both
async def test_who_is_kicked_is_told(town: Town, network: str) -> None:
    """After a kick the sender reads who kicked them and why; the relay does not speak for them meanwhile."""
    place = await town.place(network)
    nick = await town.puppet(place, town.alice)
    place.witness.raw(f"KICK {place.channel} {nick} :enough for today")
    await town.harness.until(lambda: not town.ready(place, town.alice))
    mark = place.witness.mark()
    event = await town.alice.send_text(place.room, "but I was not done")
    told = await town.notice(town.alice, place.room, "was not delivered", about=event)
    assert f"kicked from the channel by {place.witness.nick}: enough for today" in told["content"]["body"]
    await town.bob.join(place.room)
    await town.bob.send_text(place.room, "poor alice")
    await place.witness.wait_text("poor alice", place.channel, since=mark)
    assert not any("not done" in line.text for line in place.witness.messages(place.channel, mark))


@both
async def test_a_silenced_channel_returns_the_message(town: Town, network: str) -> None:
    """In a moderated channel the sender reads the server's own words; given a voice, they are heard again."""
    place = await town.place(network)
    nick = await town.puppet(place, town.alice)
    place.witness.raw(f"MODE {place.channel} +m")
    await place.witness.sync()
    event = await town.alice.send_text(place.room, "can you hear me?")
    told = await town.notice(town.alice, place.room, "was not delivered", about=event)
    words = {"insps": "whilst the +m (moderated) mode is set", "ng": "cannot send to channel"}
    assert words[network] in told["content"]["body"].lower()
    place.witness.raw(f"MODE {place.channel} +v {nick}")
    await place.witness.sync()
    await town.alice.send_text(place.room, "now you can")
    assert (await place.witness.wait_text("now you can", place.channel)).nick == nick
    assert not any("hear me" in line.text for line in place.witness.messages(place.channel))


@both
async def test_a_taken_nick_is_left_to_its_owner(town: Town, network: str) -> None:
    """When somebody has the nick already, the user's connection takes one like it, and both are told apart."""
    place = await town.place(network)
    dora = await town.person("dora")
    namesake = await town.witness(network, "dora")
    await namesake.join(place.channel)
    assert await town.puppet(place, dora) == "dora_"
    await dora.send_text(place.room, "I am the one on Matrix")
    assert (await place.witness.wait_text("the one on Matrix", place.channel)).nick == "dora_"
    namesake.privmsg(place.channel, "and I the one on IRC")
    await dora.wait_for_message(place.room, "and I the one on IRC", sender=ghost(network, "dora"))


async def test_reactions_and_replies_are_tags(town: Town) -> None:
    """Where the server knows message tags, reactions and replies find their message in both directions."""
    place = await town.place("insps")
    nick = await town.puppet(place, town.alice)
    event = await town.alice.send_text(place.room, "shall we?")
    asked = await place.witness.wait_text("shall we?", place.channel)
    place.witness.raw(f"@+draft/react=👍;+draft/reply={asked.tags['msgid']} TAGMSG {place.channel}")
    reaction = await town.alice.wait_for(lambda e: e["room_id"] == place.room and e["type"] == "m.reaction")
    assert reaction["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": event, "key": "👍"}
    assert reaction["sender"] == ghost("insps", place.witness.nick)
    place.witness.raw(f"@+draft/reply={asked.tags['msgid']} PRIVMSG {place.channel} :let us")
    answer = await town.alice.wait_for_message(place.room, "let us")
    assert answer["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": event}}
    await town.alice.react(place.room, answer["event_id"], "🎉")
    tagged = await place.witness.wait_for(lambda line: line.command == "TAGMSG" and "+draft/react" in line.tags)
    assert (tagged.nick, tagged.tags["+draft/react"]) == (nick, "🎉")


async def test_what_irc_does_not_have_is_said_once(town: Town) -> None:
    """Where there are no reactions the first one is answered with words, and the next ones are not."""
    place = await town.place("ng")
    await town.puppet(place, town.alice)
    place.witness.privmsg(place.channel, "look")
    said = await town.alice.wait_for_message(place.room, "look")
    for key in ("👍", "👎"):
        await town.alice.react(place.room, said["event_id"], key)
    told = await town.notice(town.alice, place.room, "there are no reactions")
    await town.alice.send_text(place.room, "oh")
    await place.witness.wait_text("oh", place.channel)
    await town.harness.settled()
    notices = [event for event in await town.alice.messages(place.room) if "no reactions" in str(event["content"])]
    assert [event["event_id"] for event in notices] == [told["event_id"]]


@both
async def test_commands_cannot_be_smuggled(town: Town, network: str) -> None:
    """Line ends and control characters in a text or a name start no command of their own."""
    place = await town.place(network)
    await town.carol.join(place.room)
    await town.carol.set_state(
        place.room,
        "m.room.member",
        {"membership": "join", "displayname": "c\r\nQUIT :gone\x00\x01"},
        town.carol.user_id,
    )
    mark = place.witness.mark()
    await town.carol.send_text(place.room, f"one\r\nPART {place.channel}\rNICK evil\x00\nthree")
    await place.witness.wait_text("three", place.channel, since=mark)

    def ours(line: Received) -> bool:
        return town.is_relay(network, line.nick) or "evil" in line.prefix

    assert {line.command for line in place.witness.lines[mark:] if ours(line)} == {"PRIVMSG"}
