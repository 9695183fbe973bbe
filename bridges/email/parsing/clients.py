"""How mail programs mark what they quote and sign in HTML: facts about their classes and ids."""

import re
from enum import StrEnum
from itertools import islice
from typing import Final

from bridges.email.parsing.dom import Element
from bridges.email.parsing.phrases import begins_header_block, is_forward

QUOTE_START: Final = "\ufdd0"
QUOTE_END: Final = "\ufdd1"
SIGN_START: Final = "\ufdd2"
SIGN_END: Final = "\ufdd3"
FILE_START: Final = "\ufdd4"
FILE_END: Final = "\ufdd5"
"""Marks that stand in a text while it is taken apart. Noncharacters of Unicode: strangers' are taken out before."""

_NEAR: Final = 25
"""Elements and texts within which a header begins below the line that is drawn above it."""
_QUOTES: Final = frozenset(
    {"gmail_quote", "gmail_quote_container", "yahoo_quoted", "protonmail_quote", "moz-cite-prefix", "front-blockquote"}
    | {"sh-quoted-content", "zmail_extra", "tutanota_quote", "skiff_quote", "bloop_original_html", "gmail_attr"}
    | {"aolmail_quote", "ydp_quoted", "mail_quote_started", "freebirdfxquote", "hey-quoted-content", "quoted-mail-text"}
)
_QUOTE_IDS = re.compile(r"(?:ydp|yiv[0-9]+)?yahoo_quoted.*|reply-intro|zmail_extra|isreplycontent|qt|spark-quote.*")
_REST_IDS: Final = frozenset(
    {"divrplyfwdmsg", "x_divrplyfwdmsg", "appendonsend", "x_appendonsend", "olk_src_body_section", "replysplit"}
    | {"mail-editor-reference-message-container", "origbody", "hmcontent"}
)
_SIGNATURES: Final = frozenset(
    {"gmail_signature", "gmail_signature_prefix", "moz-signature", "protonmail_signature_block", "signature-block"}
    | {"ms-outlook-mobile-signature", "ms-outlook-ios-signature", "tutanota_signature", "yahoo-signature"}
)
_SIGNATURE_IDS: Final = frozenset(
    {"signature", "x_signature", "ms-outlook-mobile-signature", "applemailsignature", "ymail_android_signature"}
    | {"protonmail_mobile_signature_block", "mail-app-signature", "ms-outlook-ios-signature"}
)
_ZIMBRA: Final = {
    "__DIVIDER__": "rest",
    "__QUOTED_TEXT__": "quote",
    "__HEADERS__": "quote",
    "__SIG_POST__": "signature",
}
_LINE_ABOVE = re.compile(
    r"border-top\s*:\s*(?:1\.0pt\s+)?(?:solid|[0-9.]+p[tx]\s+solid)|border-top:solid", re.IGNORECASE
)


class Role(StrEnum):
    """What an element is to the message."""

    OWN = "own"
    QUOTE = "quote"
    """It is quoted."""
    REST = "rest"
    """It and all that follows is quoted."""
    SIGNATURE = "signature"


def role_of(element: Element) -> Role:
    """What the element is, going by how mail programs mark theirs. Forwarded mails are nobody's quotes."""
    classes, name = element.classes, element.get("id").lower()
    found = Role.OWN
    if element.tag == "hr" and name in ("stopspelling", "zwchr"):
        return Role.REST
    if marker := element.get("data-marker"):
        found = Role(_ZIMBRA.get(marker, "own"))
    elif classes & _SIGNATURES or name in _SIGNATURE_IDS:
        return Role.SIGNATURE
    elif name in _REST_IDS or _outlook(element):
        found = Role.REST
    elif classes & _QUOTES or (name and _QUOTE_IDS.fullmatch(name)) or _is_gmx(element):
        found = Role.QUOTE
    if found is Role.OWN:
        return found
    text = element.text()
    if is_forward(text[:400]) or (found is Role.QUOTE and _has_answers(element)):
        return Role.OWN
    return found


def _outlook(element: Element) -> bool:
    """Outlook for Windows draws a line above the header of what it quotes, and marks nothing."""
    style = element.get("style")
    if element.tag != "div" or "border-top" not in style.lower() or not _LINE_ABOVE.search(style[:1000]):
        return False
    if not any(isinstance(node, str) and node.strip() for node in islice(element.walk(), _NEAR)):
        return False  # thousands of lines within one another have no header below
    return begins_header_block(element.text()[:2000].strip())


def _is_gmx(element: Element) -> bool:
    return element.tag == "div" and element.get("name") == "quote"


def _has_answers(element: Element) -> bool:
    """Whether words stand between quotes in the element: then answers were written into it."""
    quotes, waiting = 0, list(reversed(element.children))
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if quotes and node.strip():
                return True
        elif node.tag == "blockquote":
            quotes += 1
        elif not node.classes & _QUOTES and not node.classes & _SIGNATURES:
            waiting.extend(reversed(node.children))
    return False
