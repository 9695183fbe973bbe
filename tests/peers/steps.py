"""What crosses in encrypted rooms, for each network, kind of event and way: a table of steps that a test goes through.

Each step ends with what both clients see, decrypted and without a shield, or with what stands in the channel on IRC.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from bridge_core.demo.peers.peer import Peer, PeerEvent
from bridges.irc.demo.witness import Received
from tests.conformance.bridged import ECHO
from tests.peers.meeting import CHANNEL, WANDA, Meeting

FILE = bytes(range(256)) * 40
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x04\0\0\0\x03\x08\x02\0\0\0" + bytes(400)


class Act(NamedTuple):
    """One client does something in one room; `text` is said nowhere else, and longer than what IRC edits whole."""

    met: Meeting
    peer: Peer
    room: str
    text: str

    async def said(self) -> tuple[str, PeerEvent]:
        """The client says the text, the echo's ghost says it too: both events."""
        said = await self.peer.send_text(self.room, self.text)
        return said, await self.echoed(lambda event: event.body == self.text)

    async def echoed(self, fits: Callable[[PeerEvent], bool]) -> PeerEvent:
        """What the echo's ghost says, encrypted."""
        return await self.met.shown(self.room, ECHO, fits, f"the echo of {self.text!r}")

    async def heard(self, since: int, text: str) -> Received:
        """What is said in the channel under the nick of the client's user."""
        line = await self.met.witness.wait_text(text, CHANNEL, since=since)
        assert (line.nick, line.text) == (self.met.nicks[self.peer.user_id], text)
        return line

    async def from_wanda(self) -> tuple[str, PeerEvent]:
        """Wanda says the text: its id on IRC, and what the clients see."""
        met = self.met
        met.witness.privmsg(CHANNEL, self.text)
        seen = await met.shown(self.room, WANDA, lambda event: event.body == self.text, self.text)
        # The server does not echo wanda's words; who answers them names their id.
        mark = met.witness.mark()
        await self.peer.react(self.room, seen.event_id, "👀")
        line = await met.witness.wait_for(lambda line: line.tags.get("+draft/react") == "👀", since=mark)
        return line.tags["+draft/reply"], seen


Step = Callable[[Act], Awaitable[None]]


def _is_about(event: PeerEvent, kind: str, target: str) -> bool:
    relation: Mapping[str, Any] = event.content.get("m.relates_to", {})
    return relation.get("rel_type") == kind and relation.get("event_id") == target


def answered(event: PeerEvent) -> str | None:
    """What a message answers."""
    answered = event.content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
    return str(answered) if answered is not None else None


# -- the echo network: what a client says goes there, and comes back


async def echo_text(act: Act) -> None:
    """Comes back as it was."""
    await act.said()


async def echo_edit(act: Act) -> None:
    """Edits the echo."""
    said, echo = await act.said()
    await act.peer.edit(act.room, said, f"{act.text} edited")
    edited = await act.echoed(lambda event: event.body == f"{act.text} edited")
    assert _is_about(edited, "m.replace", echo.event_id)


async def echo_reaction(act: Act) -> None:
    """The ghost reacts to what was reacted to: its own message."""
    _, echo = await act.said()
    await act.peer.react(act.room, echo.event_id, "👍")
    seen = await act.met.noted(act.room, ECHO, lambda e: _is_about(e, "m.annotation", echo.event_id), "the reaction")
    assert seen.content["m.relates_to"]["key"] == "👍"


async def echo_redaction(act: Act) -> None:
    """Takes the echo back."""
    said, echo = await act.said()
    await act.peer.redact(act.room, said)
    await act.met.noted(act.room, ECHO, lambda event: event.redacts == echo.event_id, "the redaction")


async def echo_image(act: Act) -> None:
    """Comes back as an image of the same bytes."""
    await _echo_file(act, PICTURE, "image/png", "m.image")


async def echo_file(act: Act) -> None:
    """Comes back as a file of the same bytes."""
    await _echo_file(act, FILE, "application/octet-stream", "m.file")


async def _echo_file(act: Act, data: bytes, mime: str, kind: str) -> None:
    await act.peer.file(act.room, data, f"{act.text}.bin", mime, kind)
    echo = await act.echoed(lambda event: event.body == f"{act.text}.bin")
    assert (echo.content["msgtype"], echo.content["info"]["mimetype"]) == (kind, mime)
    assert "url" not in echo.content
    for peer in act.met.peers:
        assert await peer.download(await peer.wait_readable(echo.event_id)) == data


async def echo_reply(act: Act) -> None:
    """Answers what was answered."""
    _, echo = await act.said()
    await act.peer.reply(act.room, echo.event_id, f"an answer to {act.text}")
    answer = await act.echoed(lambda event: event.body == f"an answer to {act.text}")
    assert answered(answer) == echo.event_id


# -- IRC: what a client says


async def irc_text(act: Act) -> None:
    """Is said in the channel, by the user's own connection."""
    mark = act.met.witness.mark()
    await act.peer.send_text(act.room, act.text)
    await act.heard(mark, act.text)


async def irc_edit(act: Act) -> None:
    """Is said as people on IRC correct themselves."""
    mark = act.met.witness.mark()
    said = await act.peer.send_text(act.room, act.text)
    await act.heard(mark, act.text)
    await act.peer.edit(act.room, said, act.text.replace("brown", "red"))
    await act.heard(mark, "s/brown/red/")


async def irc_reaction(act: Act) -> None:
    """Is a tag on the message of somebody there."""
    name, seen = await act.from_wanda()
    mark = act.met.witness.mark()
    await act.peer.react(act.room, seen.event_id, "👍")
    line = await act.met.witness.wait_for(lambda line: line.tags.get("+draft/react") == "👍", since=mark)
    assert (line.command, line.nick, line.tags["+draft/reply"]) == ("TAGMSG", act.met.nicks[act.peer.user_id], name)


async def irc_redaction(act: Act) -> None:
    """Is said, since this server takes nothing back."""
    mark = act.met.witness.mark()
    said = await act.peer.send_text(act.room, act.text)
    await act.heard(mark, act.text)
    await act.peer.redact(act.room, said)
    await act.heard(mark, "took back an earlier message")


async def irc_image(act: Act) -> None:
    """Does not go there, which is said."""
    await _irc_file(act, PICTURE, "image/png", "m.image")


async def irc_file(act: Act) -> None:
    """Does not go there, which is said: a link would give the key of an encrypted file away."""
    await _irc_file(act, FILE, "application/octet-stream", "m.file")


async def _irc_file(act: Act, data: bytes, mime: str, kind: str) -> None:
    mark = act.met.witness.mark()
    said = await act.peer.file(act.room, data, "secret name.bin", mime, kind)
    await act.met.told(act.room, said, "files cannot be sent there: it is encrypted")
    await act.peer.send_text(act.room, act.text)
    await act.heard(mark, act.text)
    assert len(act.met.witness.messages(CHANNEL, mark)) == 1


async def irc_reply(act: Act) -> None:
    """Is a tag, and names whom it answers."""
    name, seen = await act.from_wanda()
    mark = act.met.witness.mark()
    await act.peer.reply(act.room, seen.event_id, f"an answer to {act.text}")
    line = await act.heard(mark, f"wanda: an answer to {act.text}")
    assert line.tags["+draft/reply"] == name


# -- IRC: what is said in the channel


async def wanda_text(act: Act) -> None:
    """Is read by both clients."""
    act.met.witness.privmsg(CHANNEL, act.text)
    seen = await act.met.shown(act.room, WANDA, lambda event: event.body == act.text, act.text)
    assert seen.content["msgtype"] == "m.text"


async def wanda_emote(act: Act) -> None:
    """Is an emote."""
    act.met.witness.action(CHANNEL, act.text)
    seen = await act.met.shown(act.room, WANDA, lambda event: event.body == act.text, act.text)
    assert seen.content["msgtype"] == "m.emote"


async def wanda_reaction(act: Act) -> None:
    """Is a reaction to the client's encrypted message."""
    mark = act.met.witness.mark()
    said = await act.peer.send_text(act.room, act.text)
    name = (await act.heard(mark, act.text)).tags["msgid"]
    act.met.witness.raw(f"@+draft/react=🎉;+draft/reply={name} TAGMSG {CHANNEL}")
    await act.met.noted(act.room, WANDA, lambda event: _is_about(event, "m.annotation", said), "the reaction")


async def wanda_reply(act: Act) -> None:
    """Answers the client's encrypted message."""
    mark = act.met.witness.mark()
    said = await act.peer.send_text(act.room, act.text)
    name = (await act.heard(mark, act.text)).tags["msgid"]
    act.met.witness.raw(f"@+draft/reply={name} PRIVMSG {CHANNEL} :yes, {act.text}")
    seen = await act.met.shown(act.room, WANDA, lambda event: event.body == f"yes, {act.text}", "the answer")
    assert answered(seen) == said


TABLE: Mapping[tuple[str, str], tuple[Step, ...]] = {
    ("echo", "both ways"): (echo_text, echo_edit, echo_reaction, echo_redaction, echo_image, echo_file, echo_reply),
    ("irc", "to"): (irc_text, irc_edit, irc_reaction, irc_redaction, irc_image, irc_file, irc_reply),
    # IRC has no edits, and this server neither redactions nor files.
    ("irc", "from"): (wanda_text, wanda_emote, wanda_reaction, wanda_reply),
}
