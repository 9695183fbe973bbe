"""What the relay says for people without a login of their own, and what it does not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge_core.api.content import Plain, RichText, Span, Style
from bridge_core.api.errors import UnsupportedError
from bridge_core.api.matrix import (
    MatrixMessage,
    MatrixOutgoing,
    MatrixPollEnd,
    MatrixReaction,
    MatrixSender,
    MatrixVote,
)
from bridge_core.content.profiles import PROFILE, read_profile
from bridge_core.engine.networks import NetworkOptions
from bridge_core.engine.relaynames import RelayNames, clean


class Relaying:
    """Prepares what the relay sends: under names that cannot be forged, and only what was opted into."""

    def __init__(self, names: RelayNames) -> None:
        self._names = names

    async def spoken(
        self, options: NetworkOptions, event: Mapping[str, Any], message: MatrixOutgoing
    ) -> MatrixOutgoing:
        """The message as the relay is to send it. Raises UnsupportedError in words for the sender."""
        if isinstance(message, MatrixReaction) and not options.relay_reactions:
            raise UnsupportedError("reactions are passed on for people with a login of their own only")
        if isinstance(message, MatrixVote | MatrixPollEnd) and not options.relay_polls:
            raise UnsupportedError("votes are passed on for people with a login of their own only")
        name = await self._names.of(message.room, message.sender)
        if isinstance(message, MatrixMessage):
            message, name = self._message(options, event["content"], message, name)
            answered = message.reply_to.matrix_sender if message.reply_to is not None else None
            if message.reply_to is not None and answered is not None:
                whom = replace(answered, name=await self._names.of(message.room, answered))
                message = replace(message, reply_to=replace(message.reply_to, matrix_sender=whom))
        return replace(message, sender=_named(message.sender, name), relayed=True)

    def _message(
        self, options: NetworkOptions, content: Mapping[str, Any], message: MatrixMessage, name: str
    ) -> tuple[MatrixMessage, str]:
        if message.content.poll is not None and not options.relay_polls:
            message = replace(message, content=replace(message.content, poll=None))  # its text says the same
        if PROFILE not in content:
            return message, name
        profile = read_profile(content)
        claimed = clean(profile.name or "") if profile is not None else ""
        if not claimed:
            return message, name
        # The sender claims to speak for somebody: never without saying who claims it.
        given = content[PROFILE]
        if given.get("has_fallback") is True:
            text = without_name(message.content.text, str(given.get("displayname")))
            message = replace(message, content=replace(message.content, text=text))
        return message, f"{claimed} (via {name})"


def _named(sender: MatrixSender, name: str) -> MatrixSender:
    return sender if sender.name == name else replace(sender, name=name)


def without_name(text: RichText, name: str) -> RichText:
    """A text less the name that stands before it for clients that do not know profiles (MSC4144)."""
    if not text:
        return text
    first, prefix = text[0], f"{name}: "
    if isinstance(first, Plain) and first.text.startswith(prefix):
        rest = first.text.removeprefix(prefix)
        return (Plain(rest), *text[1:]) if rest else text[1:] or text
    if isinstance(first, Span) and first.style is Style.BOLD and first.children in ((Plain(prefix),), (Plain(name),)):
        return text[1:] or text
    return text
