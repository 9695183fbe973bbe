"""The conversation between a Matrix user and an IRC user, and what each has to see."""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from bridge_core.api.demo import Crossing, DemoError, Event, Scene, Step, Way
from bridges.irc.demo import checks
from bridges.irc.demo.witness import Received, Witness, WitnessTimeoutError

_WAIT: Final = 10.0
_WORDS: Final = [f"word{number:03d}" for number in range(160)]


class Conversation:
    """One run of the script. Later steps use what earlier ones sent."""

    def __init__(self, scene: Scene, witness: Witness, channel: str) -> None:
        self._matrix = scene.matrix
        self._scene = scene
        self._room = scene.room
        self._irc = witness
        self._channel = channel
        self._puppet = ""
        self._from_irc: Event | None = None
        self._first = ""
        self._private = ""

    def steps(self) -> list[Step]:
        """All steps, in order."""
        there, back = Way.TO_NETWORK, Way.TO_MATRIX
        return [
            Step("plain", there, self.plain_to_irc),
            Step("own_connection", there, self.own_connection),
            Step("plain", back, self.plain_to_matrix),
            Step("reply", there, self.reply),
            Step("notice", there, self.notice_to_irc),
            Step("notice", back, self.notice_to_matrix),
            Step("emote", there, self.emote_to_irc),
            Step("emote", back, self.emote_to_matrix),
            Step("formatted", there, self.formatted_to_irc),
            Step("formatted", back, self.formatted_to_matrix),
            Step("colours", back, self.colours),
            Step("edit", there, self.edit),
            Step("redaction", there, self.redaction),
            Step("image", there, self.image),
            Step("long_text", there, self.long_text),
            Step("private_message", back, self.private_message),
            Step("private_reply", there, self.private_reply),
            Step("once", there, self.once_on_irc),
            Step("once", back, self.once_on_matrix),
        ]

    # --- Matrix -> IRC

    async def plain_to_irc(self) -> Crossing:
        """The first words: alice's own connection is not there yet, so the relay may say them."""
        said = "Hello IRC, this is Matrix speaking."
        mark = self._irc.mark()
        self._first = await self._matrix.send_text(self._room, said)
        line = await self._line(
            mark, lambda r: r.text == said or checks.relayed(r.text, self._scene.name, said), "the first message"
        )
        return Crossing(said, _shown(line))

    async def own_connection(self) -> Crossing:
        """alice joins the channel under a nick of her own, and from then on speaks with it."""
        name = self._scene.name.casefold()
        joined = await self._irc.wait_for(
            lambda r: r.command == "JOIN" and name in r.nick.casefold() and r.params[0] == self._channel, _WAIT
        )
        self._puppet = joined.nick
        said = "Now I have a connection of my own."
        mark = self._irc.mark()
        await self._matrix.send_text(self._room, said)
        line = await self._own(mark, lambda r: r.text == said, repr(said))
        return Crossing(said, _shown(line))

    async def reply(self) -> Crossing:
        """A reply carries its text, and whom it answers."""
        if self._from_irc is None:
            raise DemoError("there is nothing to reply to: the plain message from IRC did not arrive")
        said = "And I read you from Matrix."
        mark = self._irc.mark()
        await self._matrix.reply(self._room, self._from_irc["event_id"], said)
        line = await self._own(
            mark, lambda r: said in r.text and self._irc.nick in checks.plain(r.text), "the reply with the nick"
        )
        return Crossing(said, _shown(line))

    async def notice_to_irc(self) -> Crossing:
        """A notice is a NOTICE."""
        said = "Programs speak in notices."
        mark = self._irc.mark()
        await self._matrix.send_text(self._room, said, kind="m.notice")
        line = await self._own(mark, lambda r: r.text == said, "the NOTICE", "NOTICE")
        return Crossing(said, _shown(line))

    async def emote_to_irc(self) -> Crossing:
        """An emote is a CTCP ACTION."""
        said = "waves across the bridge"
        mark = self._irc.mark()
        await self._matrix.send_text(self._room, said, kind="m.emote")
        line = await self._own(mark, lambda r: checks.action(r.text) == said, "the ACTION")
        return Crossing(said, _shown(line))

    async def formatted_to_irc(self) -> Crossing:
        """Bold, italic and underlined text carry their codes."""
        said = "<b>bold</b> and <i>italic</i> and <u>underlined</u>"
        mark = self._irc.mark()
        await self._matrix.send_text(self._room, "**bold** and *italic* and underlined", html=said)
        line = await self._own(
            mark,
            lambda r: (
                all(code in r.text for code in ("\x02bold", "\x1ditalic", "\x1funderlined"))
                and checks.plain(r.text) == "bold and italic and underlined"
            ),
            "the formatting codes",
        )
        return Crossing(said, _shown(line))

    async def edit(self) -> Crossing:
        """An edit is told as such."""
        first = await self._matrix.send_text(self._room, "Today is Mondey.")
        mark = self._irc.mark()
        await self._matrix.edit(self._room, first, "Today is Monday.")
        line = await self._own(mark, lambda r: checks.is_edit(r.text, "Monday"), "the edit")
        return Crossing("Today is Mondey. -> Today is Monday.", _shown(line))

    async def redaction(self) -> Crossing:
        """What is taken back on Matrix is on IRC too, where the server knows such a thing; else that it was is told."""
        said = "I should not have said this."
        mark = self._irc.mark()
        event = await self._matrix.send_text(self._room, said)
        await self._own(mark, lambda r: r.text == said, repr(said))
        mark = self._irc.mark()
        await self._matrix.redact(self._room, event)
        line = await self._irc_wait(
            mark,
            lambda r: (
                r.command in ("PRIVMSG", "NOTICE", "REDACT")
                and r.params[0] == self._channel
                and (r.command == "REDACT" or checks.is_taken_back(r.text))
                and self._puppet.casefold() in f"{r.nick} {r.text}".casefold()
            ),
            "that the message was taken back",
        )
        return Crossing("(redacts that message)", _shown(line))

    async def image(self) -> Crossing:
        """An image is a link, and behind the link is the image; one that is encrypted stays where it is."""
        data = _png()
        mxc = await self._matrix.upload(data, "image/png", "square.png")
        mark = self._irc.mark()
        info = {"mimetype": "image/png", "size": len(data), "w": 32, "h": 32}
        await self._matrix.send(self._room, {"msgtype": "m.image", "body": "square.png", "url": mxc, "info": info})
        if self._scene.encrypted:
            event = await self._event(checks.is_kept_for_encryption, "why an encrypted file goes nowhere")
            return Crossing(f"square.png, {len(data)} bytes", _heard(event))
        line = await self._own(mark, lambda r: checks.link_in(r.text) is not None, "a link")
        fetched = await self._scene.fetch(checks.link_in(line.text) or "")
        if fetched != data:
            raise DemoError(f"behind the link are {len(fetched)} other bytes than the {len(data)} that were sent")
        return Crossing(f"square.png, {len(data)} bytes", f"{_shown(line)} (the same bytes)")

    async def long_text(self) -> Crossing:
        """A long text is split; every word arrives, in order."""
        mark = self._irc.mark()
        await self._matrix.send_text(self._room, " ".join(_WORDS))
        await self._own(mark, lambda r: checks.plain(r.text).endswith(_WORDS[-1]), "the last words")
        lines = [r.text for r in self._irc.lines[mark:] if r.nick == self._puppet and self._spoken(r)]
        if not checks.words_in_order(lines, _WORDS):
            raise DemoError(f"the words are not all there in order: {lines}")
        return Crossing(f"{len(_WORDS)} words", f"<{self._puppet}> {len(lines)} lines with all words in order")

    # --- IRC -> Matrix

    async def plain_to_matrix(self) -> Crossing:
        """Plain text arrives from a ghost that is named like the IRC user."""
        said = "Hello Matrix, this is IRC. I read you."
        self._irc.privmsg(self._channel, said)
        event = self._from_irc = await self._event(lambda e: checks.message_of(e, said), repr(said))
        names = await self._matrix.members(self._room)
        if self._irc.nick not in (names.get(event["sender"]) or ""):
            raise DemoError(f"its sender {event['sender']} is called {names.get(event['sender'])!r}")
        return Crossing(said, _heard(event))

    async def notice_to_matrix(self) -> Crossing:
        """A NOTICE is a notice."""
        said = "So do they here."
        self._irc.notice(self._channel, said)
        return Crossing(said, _heard(await self._event(lambda e: checks.message_of(e, said, "m.notice"), "a notice")))

    async def emote_to_matrix(self) -> Crossing:
        """A CTCP ACTION is an emote."""
        said = "waves back"
        self._irc.action(self._channel, said)
        return Crossing(said, _heard(await self._event(lambda e: checks.message_of(e, said, "m.emote"), "an emote")))

    async def formatted_to_matrix(self) -> Crossing:
        """Formatting codes become HTML, and leave no trace in the plain body."""
        said = "\x02strong\x02 and \x1dslanted\x1d and \x1flined\x1f"
        self._irc.privmsg(self._channel, said)
        event = await self._event(lambda e: checks.message_of(e, "strong and slanted and lined"), "the plain body")
        if not checks.has_tags(event, ("b", "strong"), ("i", "em"), ("u",)):
            raise DemoError(f"the formatting is missing: {event['content']}")
        return Crossing(said, _heard(event))

    async def colours(self) -> Crossing:
        """Colours become colours."""
        said = "\x0304red\x03 and \x0312,08blue on yellow\x03"
        self._irc.privmsg(self._channel, said)
        event = await self._event(lambda e: checks.message_of(e, "red and blue on yellow"), "the plain body")
        if not checks.has_color(event):
            raise DemoError(f"the colours are missing: {event['content']}")
        return Crossing(said, _heard(event))

    async def private_message(self) -> Crossing:
        """A private message to alice's nick invites her to a room of the two."""
        said = "psst, only you can read this"
        self._irc.privmsg(self._puppet, said)
        self._private = await self._matrix.wait_until(self._invited, _WAIT, "an invitation to a private room")
        await self._matrix.join(self._private)
        event = await self._matrix.wait_for(
            lambda e: e["room_id"] == self._private and checks.message_of(e, said), _WAIT, "the private message"
        )
        return Crossing(said, _heard(event))

    async def private_reply(self) -> Crossing:
        """What alice says there reaches the IRC user alone."""
        if not self._private:
            raise DemoError("there is no private room")
        said = "I can, and so can you."
        mark = self._irc.mark()
        await self._matrix.send_text(self._private, said)
        line = await self._irc_wait(
            mark,
            lambda r: checks.is_line(r, self._irc.nick) and r.nick == self._puppet and r.text == said,
            "the private reply",
        )
        return Crossing(said, _shown(line))

    # --- both

    async def once_on_irc(self) -> Crossing:
        """Nothing was said twice on IRC."""
        await self._irc.sync(_WAIT)
        said = [(r.nick, r.text) for r in self._irc.messages(self._channel)]
        _no_doubles(said)
        return Crossing("the whole conversation", f"{len(said)} lines on {self._channel}, none twice")

    async def once_on_matrix(self) -> Crossing:
        """Nothing was said twice on Matrix."""
        events = await self._matrix.messages(self._room)
        said = [
            (event["sender"], json.dumps(event["content"], sort_keys=True))
            for event in events
            if event["type"] == "m.room.message" and "body" in event["content"]
        ]
        _no_doubles(said)
        return Crossing("the whole conversation", f"{len(said)} messages in the room, none twice")

    # --- inside

    async def _line(self, mark: int, fits: Callable[[Received], bool], what: str, command: str = "PRIVMSG") -> Received:
        return await self._irc_wait(mark, lambda r: checks.is_line(r, self._channel, command) and fits(r), what)

    async def _own(self, mark: int, fits: Callable[[Received], bool], what: str, command: str = "PRIVMSG") -> Received:
        """A line that alice's own connection says in the channel."""
        if not self._puppet:
            raise DemoError(f"{self._scene.name} has no connection of her own")
        return await self._line(mark, lambda r: r.nick == self._puppet and fits(r), what, command)

    async def _irc_wait(self, mark: int, fits: Callable[[Received], bool], what: str) -> Received:
        try:
            return await self._irc.wait_for(fits, _WAIT, since=mark)
        except WitnessTimeoutError:
            seen = [_shown(line) for line in self._irc.lines[mark:]][-5:]
            raise DemoError(f"IRC did not see {what} in {_WAIT:g} s; seen since: {seen}") from None

    async def _event(self, fits: Callable[[Event], bool], what: str) -> Event:
        """An event in the portal's room from somebody else than alice."""
        own = self._matrix.user_id
        return await self._matrix.wait_for(
            lambda e: e["room_id"] == self._room and e["sender"] != own and fits(e), _WAIT, what
        )

    def _spoken(self, line: Received) -> bool:
        return checks.is_line(line, self._channel)

    def _invited(self) -> str | None:
        name = self._irc.nick.casefold()
        return next(
            (room for room, state in self._matrix.invites.items() if name in json.dumps(state).casefold()), None
        )


def _no_doubles(said: Sequence[tuple[str, str]]) -> None:
    twice = sorted({one for one in said if said.count(one) > 1})
    if twice:
        raise DemoError(f"said more than once: {twice}")


def _shown(line: Received) -> str:
    action = checks.action(line.text)
    if action is not None:
        return f"* {line.nick} {action}"
    if line.command == "NOTICE":
        return f"-{line.nick}- {line.text}"
    if line.command == "PRIVMSG":
        return f"<{line.nick}> {line.text}"
    return line.raw.decode("utf-8", "replace")


def _heard(event: Event) -> str:
    content = event["content"]
    return f"{event['sender']}: {content.get('formatted_body') or content['body']}"


def _png() -> bytes:
    """A small square of one colour (PNG specification, second edition)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\x00" + b"\x1d\xa6\x8f" * 32 for _ in range(32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
