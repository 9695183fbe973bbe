"""The grammar of SMTP and LMTP: commands, paths, parameters, replies (RFC 5321, 2033, 1870, 6152, 6531, 3461, 4954).

Pure. What is malformed raises `SyntaxProblem`, which carries the answer.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bridges.email.codec.addresses import Address, parse_address, parse_domain

COMMAND_LINE: Final = 2048
"""Bytes of a command line, with its end: RFC 5321 wants 512, extensions and UTF-8 addresses add to it."""
AUTH_LINE: Final = 12288
"""Bytes of a line of an AUTH exchange (RFC 4954 section 4)."""
REPLY_LINE: Final = 512

_VERB: Final = re.compile(rb"[A-Za-z]{1,10}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PATH: Final = re.compile(r'<((?:[^"<>\s]|"(?:[^"\\]|\\.)*")*)>')
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=\x00-\x1f\x7f]+))?")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_PARAMETERS_AT_MOST: Final = 20
_SIZE_DIGITS: Final = 20


class SyntaxProblem(Exception):  # noqa: N818 - it is an answer
    """What came is no SMTP; `code`, `status` and the text are the answer to it."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Command:
    """A command line: its verb in upper case, and what stands behind it."""

    verb: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class MailCommand:
    """MAIL FROM. `sender` is None for the null reverse-path. `size` is what the client declares."""

    sender: Address | None
    size: int | None = None
    eight_bit: bool = False
    utf8: bool = False
    auth: str | None = None
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class RcptCommand:
    """RCPT TO. `address` has an empty domain for `<postmaster>`."""

    address: Address
    notify: frozenset[str] = frozenset()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """BDAT: so many bytes follow; after the last of them the mail is complete (RFC 3030)."""

    size: int
    last: bool


def parse_command(line: bytes) -> Command:
    """A command line without its end. Raises SyntaxProblem."""
    verb, _, rest = line.partition(b" ")
    if not _VERB.fullmatch(verb):
        raise SyntaxProblem(500, "5.5.2", "what is that?")
    try:
        argument = rest.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SyntaxProblem(500, "5.5.2", "a command is ASCII or UTF-8") from error
    if _CONTROL.search(argument):
        raise SyntaxProblem(500, "5.5.2", "control characters in a command")
    return Command(verb.decode("ascii").upper(), argument.strip(" "))


def parse_mail(argument: str) -> MailCommand:
    """What stands behind MAIL (RFC 5321 section 4.1.1.2). Raises SyntaxProblem."""
    path, rest = _path(argument, "FROM:", "5.1.7")
    given = _parameters(rest)
    utf8 = _flag(given, "SMTPUTF8")
    sender = _address(path, "5.1.7") if path else None
    if not utf8 and not path.isascii():
        raise SyntaxProblem(553, "5.6.7", "an address in UTF-8 needs SMTPUTF8")
    body = (given.pop("BODY", None) or "7BIT").upper()
    if body not in ("7BIT", "8BITMIME"):
        raise SyntaxProblem(555, "5.5.4", "BODY is 7BIT or 8BITMIME")
    ret = given.pop("RET", None)
    if ret is not None and ret.upper() not in ("FULL", "HDRS"):
        raise SyntaxProblem(501, "5.5.4", "RET is FULL or HDRS")
    found = MailCommand(
        sender,
        size=_size(given),
        eight_bit=body == "8BITMIME",
        utf8=utf8,
        auth=_xtext(given, "AUTH"),
        ret=ret.upper() if ret else None,
        envid=_xtext(given, "ENVID"),
    )
    _no_more(given)
    return found


def parse_rcpt(argument: str, *, utf8: bool = False) -> RcptCommand:
    """What stands behind RCPT. `utf8`: the transaction uses SMTPUTF8. Raises SyntaxProblem."""
    path, rest = _path(argument, "TO:", "5.1.3")
    given = _parameters(rest)
    if not utf8 and not path.isascii():
        raise SyntaxProblem(553, "5.6.7", "an address in UTF-8 needs SMTPUTF8")
    address = Address(path, "") if path.lower() == "postmaster" else _address(path, "5.1.3")
    notify = frozenset((given.pop("NOTIFY", None) or "").upper().split(",")) - {""}
    if notify - {"NEVER", "SUCCESS", "FAILURE", "DELAY"} or ("NEVER" in notify and len(notify) > 1):
        raise SyntaxProblem(501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")
    found = RcptCommand(address, notify, _xtext(given, "ORCPT"))
    _no_more(given)
    return found


def parse_bdat(argument: str) -> Chunk:
    """What stands behind BDAT (RFC 3030 section 2). Raises SyntaxProblem."""
    size, _, last = argument.partition(" ")
    if not (size.isascii() and size.isdigit()) or len(size) > _SIZE_DIGITS or last.upper() not in ("", "LAST"):
        raise SyntaxProblem(501, "5.5.4", "BDAT wants a size, and LAST at the end")
    return Chunk(int(size), bool(last))


def parse_helo(argument: str) -> str:
    """The name that a client gives itself: a stranger's word, bounded. Raises SyntaxProblem when there is none."""
    if not argument or len(argument) > 255 or " " in argument:
        raise SyntaxProblem(501, "5.5.4", "say who you are")
    return argument


def proper_name(helo: str) -> bool:
    """Whether a name is a domain or an address literal in ASCII: it may stand in a header as it is."""
    try:
        return helo.isascii() and bool(parse_domain(helo))
    except ValueError:
        return False


def decode_base64(line: bytes) -> bytes:
    """One answer of an AUTH exchange. Raises SyntaxProblem: 501 also for `*`, which cancels."""
    if line == b"*":
        raise SyntaxProblem(501, "5.7.0", "cancelled")
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise SyntaxProblem(501, "5.5.2", "that is not base64") from error


def parse_plain(message: bytes) -> tuple[str, str]:
    """User and password of SASL PLAIN (RFC 4616). An authorisation identity must be the user. Raises SyntaxProblem."""
    parts = message.split(b"\0")
    try:
        authorization, user, password = (part.decode("utf-8") for part in parts)
    except ValueError as error:
        raise SyntaxProblem(501, "5.5.2", "that is not PLAIN") from error
    if not user or authorization not in ("", user):
        raise SyntaxProblem(535, "5.7.8", "nobody speaks for others here")
    return user, password


def encode_reply(code: int, status: str, text: str) -> bytes:
    """A reply's bytes: the only way by which one gets onto the wire.

    One line per line of `text`, each with the status code (RFC 2034); longer than a line may be, it is cut, and what
    is not ASCII is escaped. Raises ValueError for a code, status or control character that does not belong there.
    """
    if not 200 <= code <= 599 or (status and not re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", status)):
        raise ValueError("that is no code of a reply")
    lines = text.split("\n")
    if any(_CONTROL.search(line) for line in lines):
        raise ValueError("control characters in a reply")
    prefix = f"{status} " if status else ""
    written = []
    for number, line in enumerate(lines):
        mark = " " if number == len(lines) - 1 else "-"
        words = f"{code}{mark}{prefix}{line}".encode("ascii", "backslashreplace")
        written.append(words[: REPLY_LINE - 2] + b"\r\n")
    return b"".join(written)


def _path(argument: str, word: str, status: str) -> tuple[str, str]:
    if argument[: len(word)].upper() != word:
        raise SyntaxProblem(501, "5.5.4", f"{word} is missing")
    # Many clients put a space behind the colon. Nobody else's mail is at stake, so it is let pass.
    found = _PATH.match(argument[len(word) :].lstrip(" "))
    if found is None:
        raise SyntaxProblem(501, status, "an address stands in angle brackets")
    rest = argument[len(word) :].lstrip(" ")[found.end() :]
    if rest and not rest.startswith(" "):
        raise SyntaxProblem(501, "5.5.4", "a space belongs behind the address")
    path = found[1]
    if path.startswith("@"):
        raise SyntaxProblem(553, status, "no source routes")
    return path, rest.strip(" ")


def _address(path: str, status: str) -> Address:
    try:
        return parse_address(path)
    except ValueError as error:
        raise SyntaxProblem(553, status, str(error)) from error


def _parameters(text: str) -> dict[str, str | None]:
    given: dict[str, str | None] = {}
    for word in text.split():
        found = _PARAMETER.fullmatch(word)
        if found is None or found[1].upper() in given or len(given) == _PARAMETERS_AT_MOST:
            raise SyntaxProblem(501, "5.5.4", "the parameters are malformed")
        given[found[1].upper()] = found[2]
    return given


def _flag(given: dict[str, str | None], name: str) -> bool:
    if name not in given:
        return False
    if given.pop(name) is not None:
        raise SyntaxProblem(501, "5.5.4", f"{name} has no value")
    return True


def _size(given: dict[str, str | None]) -> int | None:
    if "SIZE" not in given:
        return None
    value = given.pop("SIZE")
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > _SIZE_DIGITS:
        raise SyntaxProblem(501, "5.5.4", "SIZE is a number")
    return int(value)


def _xtext(given: dict[str, str | None], name: str) -> str | None:
    if name not in given:
        return None
    value = given.pop(name)
    if value is None or len(value) > 500 or not (_XTEXT.fullmatch(value) or not value.isascii()):
        raise SyntaxProblem(501, "5.5.4", f"{name} is malformed")
    return value


def _no_more(given: Mapping[str, str | None]) -> None:
    if given:
        raise SyntaxProblem(555, "5.5.4", "a parameter that was not offered")
