"""Lines that a puppet's connection need not parse."""

from typing import Final

_TO_CHANNEL: Final = frozenset((b"PRIVMSG", b"NOTICE", b"TAGMSG", b"PART", b"TOPIC"))
_JOIN: Final = b"JOIN"
_BATCH: Final = b"BATCH"
_SEVERAL_LINES: Final = b"draft/multiline #"
_FROM_OTHERS: Final = frozenset((b"QUIT", b"NICK", b"AWAY", b"ACCOUNT", b"CHGHOST", b"SETNAME"))


def boring(line: bytes, own: bytes) -> bool:
    """Whether a line is certainly what others do in channels, which the observer's connection sees anyway.

    `own` is `:nick!` of the connection in the server's spelling; see `own_mark`. In doubt the answer is no: own
    lines, labelled ones, KICK and MODE (they may concern us), status messages, numerics. Channels other than `#` are
    not looked at. Batches make no difference: what others do in channels answers no label of ours, and of a netsplit
    or a message of several lines each puppet would else parse every line. Does not parse: about 0.3 microseconds.
    """
    if line[:1] == b"@":
        tags, _, line = line.partition(b" ")
        if b"label=" in tags:
            return False
    parts = line.split(b" ", 3)
    if len(parts) < 3 or line.startswith(own):
        return False
    command = parts[1]
    if command in _TO_CHANNEL:
        return parts[2][:1] == b"#"
    if command == _BATCH:
        return parts[2][:1] == b"+" and parts[3:] != [] and parts[3].startswith(_SEVERAL_LINES)
    if command == _JOIN:
        return parts[2][:1] == b"#" or parts[2][:2] == b":#"
    return command in _FROM_OTHERS


def own_mark(nick: str) -> bytes:
    """How lines of our own begin, for `boring`."""
    return f":{nick}!".encode()
