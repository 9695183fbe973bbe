"""Relays that give a mail another Message-ID, and say which in their answer to the last dot. Pure."""

import re
from typing import Final

_SES: Final = re.compile(r"email-smtp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com")
_SES_ID: Final = re.compile(r"\bOk\s+([0-9a-f-]{30,100})\s*$", re.IGNORECASE)
_MICROSOFT: Final = re.compile(r"(?:.+\.)?(?:outlook|office365|office)\.com")
_MICROSOFT_ID: Final = re.compile(r"<([^<>\s@]{1,200}@[^<>\s@]{1,200}\.(?:outlook|office365)\.com)>", re.IGNORECASE)


def given_id(server: str, text: str) -> str:
    """The id, without brackets, that the server gave a mail instead of ours; empty where it is not known to.

    Amazon SES: `250 Ok 0100...`, which becomes an id at its region; Outlook and Microsoft 365: `<...outlook.com>`.
    """
    host = server.lower().rstrip(".")
    if (found := _SES.fullmatch(host)) is not None:
        made = _SES_ID.search(text)
        if made is None:
            return ""
        return f"{made[1]}@{'email' if found[1] == 'us-east-1' else found[1]}.amazonses.com"
    if _MICROSOFT.fullmatch(host) and (named := _MICROSOFT_ID.search(text)) is not None:
        return named[1]
    return ""
