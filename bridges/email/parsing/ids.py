"""Message-IDs and dates as headers hold them (RFC 5322, 3.3 and 3.6.4)."""

import hashlib
import re
from email.utils import mktime_tz, parsedate_tz
from typing import Final

from bridges.email.parsing.words import decode_words

_BRACKETED = re.compile(r"<([^<>]++)>")
_SPACE = re.compile(r"\s+")
_LONGEST: Final = 512
_MOST: Final = 100
_DAY: Final = 86_400


def ids(text: str) -> tuple[str, ...]:
    """The ids in a header, without brackets, each once, in order: of more than 100 the first and the last 99.

    Also reads ids that were encoded (a bug of CPython does that to long ones), without brackets, or with spaces in
    them. An id over 512 characters stands as its hash, so that it still compares. Never raises; linear.
    """
    text = decode_words(text)
    found = [_one(inner) for inner in _BRACKETED.findall(text)]
    if not found:
        found = [_one(word) for word in text.split() if "@" in word]
    found = list(dict.fromkeys(one for one in found if one))
    if len(found) > _MOST:
        found = [found[0], *found[1 - _MOST :]]
    return tuple(found)


def one_id(text: str) -> str:
    """The id of a Message-ID header, which may hold anything; empty where it holds nothing."""
    found = ids(text)
    return found[0] if found else _one(decode_words(text))


def made_id(seed: bytes) -> str:
    """An id for a mail without one: the same for the same bytes."""
    return f"{hashlib.sha256(seed).hexdigest()[:40]}@made.invalid"


def date_ms(text: str, latest: int | None) -> int | None:
    """The time in milliseconds since 1970, None for what is none; never after `latest`, never before 1970."""
    try:
        parsed = parsedate_tz(text[:100])
        if parsed is None or abs(parsed[9] or 0) > _DAY:
            return None
        when = int(mktime_tz(parsed)) * 1000
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    if latest is not None and when > latest:
        return latest
    return max(when, 0)


def _one(inner: str) -> str:
    inner = _SPACE.sub(" ", inner.replace("<", "").replace(">", "")).strip()
    if len(inner) > _LONGEST:
        return f"{hashlib.sha256(inner.encode('utf-8', 'replace')).hexdigest()[:40]}@long.invalid"
    return inner
