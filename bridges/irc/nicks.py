"""Names on IRC: nicks for Matrix users, channels and keys that admins give, ids for the core."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from bridge_core.api.ids import ChatId, UserId
from bridges.irc.codec.isupport import Isupport

_FIRST: Final = r"A-Za-z\[\]\\`_^{|}"
_NICK: Final = re.compile(rf"[{_FIRST}][{_FIRST}0-9-]*", re.ASCII)
_UNFIT: Final = re.compile(rf"[^{_FIRST}0-9-]+", re.ASCII)
_PART: Final = re.compile(r"\$(LOCALPART|DISPLAY|USERID|SERVER|REVERSED)\b")
_BAD_FIRST: Final = "M"
_FORBIDDEN: Final = re.compile(r"[\x00-\x20,\x7f]")
_KEY_BYTES: Final = 23
_SUFFIXES_AT_MOST: Final = 100


class BadName(ValueError):  # noqa: N818 - named for what is so
    """A name that IRC does not allow. The text says what is wrong with it, for admins, without repeating the name."""


def make_nick(template: str, user: UserId, display: str, nicklen: int) -> str:
    """The nick of a Matrix user: the template filled in, cleaned by RFC 2812 section 2.3.1, cut to `nicklen` bytes.

    The template may hold `$LOCALPART`, `$DISPLAY`, `$USERID` and `$SERVER`. Accents are taken off letters, other
    characters left out; what starts with a digit or hyphen gets an `M` in front. When nothing of the name is left, it
    is made of a digest of the user id. Always valid, always the same for the same input.
    """
    localpart, _, server = user.removeprefix("@").partition(":")
    nick = _clean(fill(template, user, display, USERID=f"{localpart}-{server}"))
    bare = _clean(_PART.sub("", template))
    if not nick or nick == bare:
        # The template alone names nobody in particular.
        nick += hashlib.sha256(user.encode()).hexdigest()[:6]
    if not _NICK.fullmatch(nick):
        nick = _BAD_FIRST + nick
    return nick[:nicklen]


def fill(template: str, user: UserId, display: str, **instead: str) -> str:
    """The template with a user's parts: `$DISPLAY`, `$LOCALPART`, `$SERVER`, `$USERID`, `$REVERSED`."""
    localpart, _, server = user.removeprefix("@").partition(":")
    values = {
        "LOCALPART": localpart,
        "DISPLAY": display or localpart,
        "USERID": str(user),
        "SERVER": server,
        "REVERSED": f"{server}:@{localpart}",
        **instead,
    }
    return _PART.sub(lambda match: values[match[1]], template)


def _clean(text: str) -> str:
    """What of a text may stand in a nick, letters without their accents."""
    return _UNFIT.sub("", unicodedata.normalize("NFKD", text))


def alternatives(nick: str, nicklen: int) -> Iterator[str]:
    """The nick, then what to try while it is taken: `nick_`, `nick_2`, `nick_3` and so on, about a hundred in all."""
    yield nick[:nicklen]
    for number in range(1, _SUFFIXES_AT_MOST):
        suffix = "_" if number == 1 else f"_{number}"
        candidate = nick[: max(nicklen - len(suffix), 1)] + suffix
        yield candidate[:nicklen]


def check_nick(nick: str, nicklen: int) -> str:
    """The nick, if it is one by RFC 2812 and not too long; raises BadName otherwise."""
    if not _NICK.fullmatch(nick):
        raise BadName("a nick is letters, digits and []\\`_^{|}-, and does not start with a digit or hyphen")
    if len(nick) > nicklen:
        raise BadName(f"the network's nicks have at most {nicklen} characters")
    return nick


def check_channel(name: str, isupport: Isupport) -> str:
    """The channel's name, if it can be one on this network; raises BadName otherwise.

    What is refused here has run commands elsewhere (CVE-2023-38690, CVE-2024-52505) or joined two channels in one
    (CVE-2022-39203: comma, space).
    """
    if not isupport.is_channel(name):
        raise BadName(f"a channel's name starts with one of {isupport.chantypes}")
    if len(name) < 2:
        raise BadName("a channel's name is more than its first character")
    if _FORBIDDEN.search(name):
        raise BadName("a channel's name holds no spaces, commas or control characters")
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise BadName("a channel's name is text that has a UTF-8 form") from None
    if length > isupport.channellen:
        raise BadName(f"the network's channel names have at most {isupport.channellen} bytes")
    return name


def check_key(key: str) -> str:
    """The channel key, if it can be one (RFC 2812: up to 23 visible characters); raises BadName otherwise."""
    if not key or not key.isascii() or _FORBIDDEN.search(key) or key.startswith(":"):
        raise BadName("a key is visible ASCII characters without commas, and does not start with a colon")
    if len(key) > _KEY_BYTES:
        raise BadName(f"a key has at most {_KEY_BYTES} characters")
    return key


def is_channel(name: str, isupport: Isupport) -> bool:
    """Whether a name from the network is one of a channel that can be bridged: `check_channel` without its reasons."""
    try:
        check_channel(name, isupport)
    except BadName:
        return False
    return True


def chat_id(name: str, isupport: Isupport) -> ChatId:
    """The canonical id of a channel or of a conversation with a nick. Distinct names have distinct ids."""
    return ChatId(isupport.fold(name))
