"""What a chat can carry, enforced in one place: what it cannot is said in another way, or refused in words. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NoReturn

from bridge_core.api.content import Attachment, Content, Kind, Plain
from bridge_core.api.errors import RejectedError, UnsupportedError
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixOutgoing,
    MatrixPollEnd,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
    MatrixVote,
)
from bridge_core.api.network import Capabilities, Level
from bridge_core.content.plain import to_plain
from bridge_core.engine import degrading

REFUSALS: Final[Mapping[str, str]] = {
    "text": "messages cannot be sent there",
    "formatting": "formatted text cannot be sent there",
    "emote": "emotes cannot be sent there",
    "notice": "notices cannot be sent there",
    "reply": "messages cannot be answered there",
    "thread": "there are no threads there",
    "edit": "messages cannot be edited there",
    "redact": "messages cannot be taken back there",
    "react": "there are no reactions there",
    "poll": "there are no polls there",
    "vote": "nobody can vote from here there",
    "location": "places cannot be sent there",
    "caption": "files cannot have a caption there",
    "spoiler": "nothing can be hidden there",
    "emoji": "custom emoji cannot be sent there",
    "expiry": "messages do not disappear there",
    "name": "the chat cannot be named from here there",
    "topic": "the topic cannot be set from here there",
    "avatar": "the picture cannot be changed from here there",
    "member": "members cannot be changed from here there",
    "power": "powers cannot be changed from here there",
    "image": "images cannot be sent there",
    "video": "videos cannot be sent there",
    "audio": "audio files cannot be sent there",
    "voice": "voice messages cannot be sent there",
    "file": "files cannot be sent there",
    "sticker": "stickers cannot be sent there",
}
"""What the sender is told, by feature."""

_FEATURES: Final[Mapping[type, str]] = {
    MatrixEdit: "edit",
    MatrixRedaction: "redact",
    MatrixReaction: "react",
    MatrixVote: "vote",
    MatrixPollEnd: "poll",
    MatrixMember: "member",
    MatrixPower: "power",
}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


class Fit:
    """Fits one message to a chat. `missing` are the features that were left out of it, to be told once."""

    def __init__(self, can: Capabilities, now: int) -> None:
        self._can = can
        self._now = now
        self.missing: list[str] = []

    def fitted(self, message: MatrixOutgoing) -> MatrixOutgoing:
        """The message as the chat can carry it.

        Raises RejectedError in words for the sender for what it cannot, UnsupportedError where telling that once is
        enough. Costs a plain text two look-ups.
        """
        if isinstance(message, MatrixMessage):
            return self._message(message)
        if isinstance(message, MatrixInfo):
            return self._info(message)
        self._need(_FEATURES[type(message)])
        if isinstance(message, MatrixEdit):
            _young(self._can.edit_age, message.target.timestamp, self._now, "edited")
            content = self._content(message.content, message.sender.name)
            return message if content is message.content else replace(message, content=content)
        if isinstance(message, MatrixRedaction):
            _young(self._can.redact_age, message.target.timestamp, self._now, "taken back")
        elif isinstance(message, MatrixReaction):
            return self._reaction(message)
        return message

    def _message(self, message: MatrixMessage) -> MatrixMessage:
        content = self._content(message.content, message.sender.name)
        reply, thread, expiry = message.reply_to, message.thread, message.expiry
        if thread is not None and not self._carries("thread"):
            # What is said in a thread answers its first message where there are none.
            reply, thread = reply or thread, None
        if reply is not None and self._level("reply") is Level.DROPPED:
            self.missing.append("reply")
            reply = None
        if expiry is not None and self._level("expiry") <= Level.FALLBACK:
            self.missing.append("expiry")
            expiry = None
        if content is message.content and reply is message.reply_to and thread is message.thread:
            return message if expiry is message.expiry else replace(message, expiry=expiry)
        return replace(message, content=content, reply_to=reply, thread=thread, expiry=expiry)

    def _content(self, content: Content, sender: str) -> Content:
        text, kind = content.text, content.kind
        if not content.attachments or text:
            self._need("text")
        alone = not content.attachments and content.poll is None and content.location is None
        if alone and kind is Kind.TEXT and len(text) == 1 and type(text[0]) is Plain:  # nearly every message
            self._short(text[0].text)
            return content
        if kind is not Kind.TEXT and not self._is("notice" if kind is Kind.NOTICE else "emote"):
            content = degrading.as_text(content, sender)
        if content.poll is not None and not self._is("poll"):
            content = replace(content, poll=None)
        if content.location is not None and not self._is("location"):
            content = replace(content, location=None)
        content = self._text(content)
        if content.attachments:
            content = self._files(content)
        if content.text and self._can.max_text is not None:
            self._short(to_plain(content.text))
        return content

    def _text(self, content: Content) -> Content:
        text = content.text
        if len(text) == 1 and type(text[0]) is Plain:
            return content
        if degrading.has_picture(text) and not self._carries("emoji"):
            text = degrading.without_pictures(text)
        if degrading.has_spoiler(text) and not self._carries("spoiler"):
            text = degrading.without_spoilers(text)
        if degrading.is_formatted(text) and not self._carries("formatting"):
            can = self._can
            text = degrading.without_formatting(
                text,
                mentions=can.level("mention") > Level.FALLBACK,
                pictures=can.level("emoji") > Level.FALLBACK,
            )
        return content if text is content.text else replace(content, text=text)

    def _files(self, content: Content) -> Content:
        if content.text and self._level("caption") is Level.DROPPED:
            self.missing.append("caption")
            content = replace(content, text=())
        files = tuple(self._file(attachment) for attachment in content.attachments)
        return content if files == content.attachments else replace(content, attachments=files)

    def _file(self, attachment: Attachment) -> Attachment:
        attachment = degrading.carried_as(attachment, self._can)
        self._need(attachment.kind)
        if not degrading.takes(self._can, attachment.kind, attachment.mime):
            allowed = ", ".join(self._can.mimes[attachment.kind])
            raise RejectedError(f"files of type {attachment.mime or 'unknown'} cannot be sent there, only {allowed}")
        most = self._can.max_file
        if most is not None and attachment.size is not None and attachment.size > most:
            raise RejectedError(f"the file has {attachment.size} bytes, and at most {most} are carried there")
        if attachment.spoiler is not None and not self._carries("spoiler"):
            # The mark goes with the name: whoever opens it has been told.
            name = f"SPOILER_{attachment.name}"
            attachment = replace(attachment, spoiler=None, name=name)
        return attachment

    def _reaction(self, reaction: MatrixReaction) -> MatrixReaction:
        if reaction.picture is not None and not self._carries("emoji"):
            if not reaction.picture.alt:
                raise RejectedError("that reaction is a picture, and only emoji can be sent there")
            reaction = replace(reaction, key=reaction.picture.alt, picture=None)
        allowed = self._can.reactions
        if allowed is not None and reaction.key not in allowed and _bare(reaction.key) not in map(_bare, allowed):
            raise RejectedError(f"only these reactions are possible there: {' '.join(allowed[:20])}")
        return reaction

    def _info(self, info: MatrixInfo) -> MatrixInfo:
        for feature in ("name", "topic", "avatar", "expiry"):
            if getattr(info, feature) is not None:
                self._need(feature)
        return info

    def _short(self, text: str) -> None:
        most = self._can.max_text
        if most is not None and len(text) * 4 > most and (size := len(text.encode())) > most:
            raise RejectedError(f"the text has {size} bytes, and at most {most} are carried there")

    def _need(self, feature: str) -> None:
        """Go on when the chat carries the feature, or the adapter says it in its own way."""
        if self._can.level(feature) < Level.FALLBACK:
            self._refuse(feature)

    def _is(self, feature: str) -> bool:
        """Whether the chat has what the whole message is; False: the core says the same in text. Raises as `_need`."""
        self._need(feature)
        return self._can.level(feature) > Level.FALLBACK

    def _carries(self, feature: str) -> bool:
        """Whether the chat has what is part of a message; False: it is said in text. Raises for what is rejected."""
        level = self._can.level(feature)
        if level < Level.FALLBACK:
            if level is Level.REJECTED:
                self._refuse(feature)
            self.missing.append(feature)
        return level > Level.FALLBACK

    def _level(self, feature: str) -> Level:
        level = self._can.level(feature)
        if level is Level.REJECTED:
            self._refuse(feature)
        return level

    def _refuse(self, feature: str) -> NoReturn:
        words = REFUSALS.get(feature, f"{feature} cannot be sent there")
        raise (RejectedError if self._can.level(feature) is Level.REJECTED else UnsupportedError)(words)


def too_many(can: Capabilities, reactions: int) -> str:
    """Why a person who has put `reactions` on a message may put no further one on it; empty when they may."""
    most = can.max_reactions
    if most is None or reactions < most:
        return ""
    return f"one person may put {most} reaction{'s' * (most != 1)} on a message there: take one off first"


def _young(limit: int | None, said_at: int | None, now: int, what: str) -> None:
    if limit is not None and said_at is not None and now - said_at > limit * 1000:
        raise RejectedError(f"messages can be {what} there for {_duration(limit)} only")


def _duration(seconds: int) -> str:
    for unit, name in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            count = seconds // unit
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{seconds} seconds"


def _bare(key: str) -> str:
    """An emoji less the variation selector, which clients write or leave out as they like."""
    return key.replace("\ufe0f", "")
