"""Messages from Matrix to lines of text, not yet bytes."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from bridge_core.api.content import Attachment, Content, Kind, Mention, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import RemoteUserId
from bridge_core.api.matrix import MatrixSender, MessageRef
from bridges.irc import people
from bridges.irc.codec.ctcp import action
from bridges.irc.formatting import Rendering, to_lines
from bridges.irc.formatting.codes import CONTROLS
from bridges.irc.splitting import split
from bridges.irc.state import NetworkState

_NAME_AT_MOST: Final = 160
"""Characters of a relayed sender's name: the core bounds it, and what stands at its end tells look-alikes apart."""
_FILE_NAME_AT_MOST: Final = 128
_BREAKS: Final = re.compile(r"[<>\s\u2028\u2029\u0085]+")
_PING_BREAKER: Final = "\u200b"
_KIB: Final = 1024
_NAMES_AT_MOST: Final = 1000


class Said(NamedTuple):
    """Lines to one target: the command, the texts ready for the wire, and whether they are emotes."""

    command: str
    texts: list[str]
    joined: list[bool] | None = None
    """For a message of several lines: which ones go on with the one before. None: each line is said by itself."""
    cut: bool = False
    """Whether the last line only says how many more there are."""


class Writer:
    """Writes messages of one network. `room(command, action)` gives the bytes of text a line may have."""

    def __init__(self, state: NetworkState, media_url: Callable[[Attachment], str | None]) -> None:
        self._state = state
        self._media_url = media_url
        self._rendering = Rendering(nick=self._nick, hex_colors=state.config.messages.hex_colors)
        self._bare = replace(self._rendering, styles=False)
        self._whole = replace(self._rendering, keep_blank=True)
        self._names: dict[tuple[str, str], str] = {}

    def say(
        self,
        content: Content,
        sender: MatrixSender,
        reply_to: MessageRef | None,
        relayed: bool,
        room: Callable[[str, bool], int],
        *,
        first: str = "",
        several: bool = False,
        most: int | None = None,
    ) -> Said:
        """The lines of a message; `first` stands in front of its first line. Empty when it says nothing.

        Raises NoRoom, and RejectedError for a file without a link: half a message is not sent.
        It has at most `most` lines, and at most those of the configuration.
        Relayed lines each carry the sender's name, so that no line can be taken for another's. `several`: the server
        takes messages of several lines.
        """
        command = "NOTICE" if content.kind is Kind.NOTICE else "PRIVMSG"
        text = content.text
        if not relayed and reply_to is None and not first and not content.attachments and content.kind is Kind.TEXT:
            space = room(command, False)
            if len(text) == 1 and isinstance(text[0], Plain):
                plain = text[0].text
                short = len(plain) * 4 <= space and "\n" not in plain
                if short and plain and not plain.isspace() and CONTROLS.search(plain) is None:
                    return Said(command, [plain])
        lines = [self._file(attachment) for attachment in content.attachments]
        several = several and command == "PRIVMSG" and content.kind is not Kind.EMOTE
        lines += to_lines(text, self._whole if several and not relayed else self._rendering)
        if not any(lines):
            return Said(command, [])
        lines[0] = first + self._address(reply_to, sender, lines[0]) + lines[0]
        emote = content.kind is Kind.EMOTE and not content.attachments
        prefix = ""
        if relayed:
            name = self.name(sender)
            prefix = f"* {name} " if emote else self._state.config.relay_format.replace("{name}", name)
        emote = emote and not relayed
        space = room(command, emote) - len(prefix.encode())
        whole = several and not relayed
        cut = [split(line, space, reset=whole) or [""] for line in lines]
        pieces = [piece for line in cut for piece in line]
        joined = [whole and place > 0 for line in cut for place in range(len(line))]
        limit = self._state.config.max_lines
        most = min(limit, most) if most is not None else limit
        over = len(pieces) > most
        if over:
            left = len(pieces) - (most - 1)
            pieces = [*pieces[: most - 1], f"… ({left} more lines)"]
            joined = [*joined[: most - 1], False]
        if several and len(pieces) > 1:
            return Said(command, [prefix + piece for piece in pieces], joined, over)
        if emote:
            return Said(command, [action(piece) for piece in pieces], None, over)
        return Said(command, [prefix + piece for piece in pieces] if prefix else pieces, None, over)

    def words(self, content: Content) -> str:
        """The text of a message, without styles and names in front."""
        text = content.text
        if len(text) == 1 and isinstance(text[0], Plain):
            return text[0].text
        return "\n".join(to_lines(text, self._bare))

    def name(self, sender: MatrixSender) -> str:
        """How a relayed sender is called: one line, no controls, no brackets that would end the name early.

        A zero-width space behind the first character keeps clients from taking it for a nick in the channel.
        """
        known = self._names.get((sender.id, sender.name))
        if known is None:
            if len(self._names) >= _NAMES_AT_MOST:
                self._names.clear()
            name = clean_name(sender.name) or clean_name(sender.id.partition(":")[0].removeprefix("@")) or "?"
            known = self._names[sender.id, sender.name] = name[0] + _PING_BREAKER + name[1:]
        return known

    def nick(self, person: RemoteUserId) -> str:
        """The nick of a person, as they write it where that is known."""
        return self._state.nick_of_person(person) or people.account_of(person) or person

    def _nick(self, mention: Mention) -> str | None:
        """Whom a mention means on this network."""
        if mention.remote is not None:
            return self.nick(mention.remote)
        if mention.matrix is not None:
            return self._state.nick_of(mention.matrix)
        return None

    def _address(self, reply: MessageRef | None, sender: MatrixSender, line: str) -> str:
        """`nick: ` in front of an answer, unless it is to oneself or says so already, and what it answers if given."""
        if reply is None:
            return ""
        return self._addressed(reply, sender, line) + _quote(reply)

    def _addressed(self, reply: MessageRef, sender: MatrixSender, line: str) -> str:
        if reply.remote_sender is not None:
            nick = self.nick(reply.remote_sender)
        elif reply.matrix_sender is None or reply.matrix_sender.id == sender.id:
            return ""
        else:
            nick = self._state.nick_of(reply.matrix_sender.id) or self.name(reply.matrix_sender)
        nick = CONTROLS.sub("", nick)
        return "" if line.startswith((f"{nick}:", f"{nick},")) else f"{nick}: "

    def _file(self, attachment: Attachment) -> str:
        """`name (12 KiB) <url>`. Raises RejectedError when there is no url."""
        name = CONTROLS.sub("", _BREAKS.sub(" ", attachment.name)).strip() or attachment.kind.value
        parts = [name[:_FILE_NAME_AT_MOST]]
        if attachment.size is not None:
            parts.append(f"({_size(attachment.size)})")
        url = self._media_url(attachment)
        if url is None:
            # Not UnsupportedError, of which senders are told but once: each file that is not there is missed.
            why = "it is encrypted" if attachment.keys is not None else "this bridge's media links are off"
            raise RejectedError(f"files cannot be sent there: {why}")
        parts.append(f"<{CONTROLS.sub('', url).replace(' ', '%20')}>")
        return " ".join(parts)


def _quote(reply: MessageRef) -> str:
    """What is answered, so that it cannot be taken for what is said."""
    if reply.excerpt is None:
        return ""
    quoted = " ".join(CONTROLS.sub("", reply.excerpt).split()).replace('"', "'")
    return f'"{quoted}" <- ' if quoted else ""


def clean_name(name: str) -> str:
    """A display name as one may stand in a line: visible characters, one space between words, at most 160."""
    visible = "".join(
        character for character in _BREAKS.sub(" ", name) if unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    )
    return " ".join(visible.split())[:_NAME_AT_MOST].strip()


def _size(size: int) -> str:
    if size < _KIB:
        return f"{size} B"
    if size < _KIB * _KIB:
        return f"{size / _KIB:.0f} KiB"
    return f"{size / _KIB / _KIB:.1f} MiB"
