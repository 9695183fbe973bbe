"""AUTH PLAIN and LOGIN (RFC 4954, 4616)."""

import structlog

from bridges.email.codec.smtp import AUTH_LINE, SyntaxProblem, decode_base64, encode_reply, parse_plain
from bridges.email.ports import Reply
from bridges.email.smtp.parts import Refused, Shared
from bridges.email.smtp.wire import Wire

_log = structlog.get_logger(__name__)
MECHANISMS = ("PLAIN", "LOGIN")


async def authenticate(shared: Shared, wire: Wire, argument: str) -> str:
    """Ask for what the mechanism wants, and check it: the login's id.

    Raises Refused or SyntaxProblem with the answer; unknown users, wrong passwords and pauses look alike to a guesser
    but for the pause's code, which says nothing of the account.
    """
    mechanism, _, first = argument.partition(" ")
    mechanism = mechanism.upper()
    if mechanism not in MECHANISMS:
        raise Refused(Reply(504, "5.5.4", "PLAIN or LOGIN"))
    if mechanism == "PLAIN":
        user, password = parse_plain(_initial(first) if first else await _challenge(shared, wire, ""))
    else:
        user = _text(_initial(first) if first else await _challenge(shared, wire, "VXNlcm5hbWU6"))
        password = _text(await _challenge(shared, wire, "UGFzc3dvcmQ6"))
    guesses = shared.guesses
    if guesses.wait(wire.peer, user) > 0:
        raise Refused(Reply(454, "4.7.0", "too many wrong passwords, try again later"))
    # Counted before it is known: many guesses at the same time are many guesses.
    guesses.wrong(wire.peer, user)
    try:
        login = await shared.ask(shared.parts.passwords.check(user, password, wire.peer))
    except Refused:
        guesses.unknown(wire.peer, user)
        raise
    if login is None:
        _log.info("smtp_password_wrong", peer=wire.peer)
        raise Refused(Reply(535, "5.7.8", "user or password is wrong"))
    guesses.right(wire.peer, user)
    return login


def _initial(text: str) -> bytes:
    # A single equals sign is an empty answer (RFC 4954 section 4).
    return b"" if text == "=" else decode_base64(text.encode())


async def _challenge(shared: Shared, wire: Wire, text: str) -> bytes:
    wire.write(encode_reply(334, "", text))
    return decode_base64(await wire.line(AUTH_LINE, shared.parts.settings.times.command))


def _text(answer: bytes) -> str:
    try:
        return answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SyntaxProblem(501, "5.5.2", "that is not UTF-8") from error
