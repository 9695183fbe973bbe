"""Lines of a server, damaged at every byte: read as some line or refused, the same whole and byte by byte."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridges.irc.codec.casemap import casemap
from bridges.irc.codec.encoding import Decoder
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.codec.lines import LineBuffer
from bridges.irc.codec.message import Line, LineError, parse, parse_source
from bridges.irc.codec.prefilter import boring, own_mark
from bridges.irc.formatting import strip_codes
from bridges.irc.nicks import chat_id, is_channel
from bridges.irc.splitting import Envelope, NoRoom, split

_DECODE = Decoder("cp1252")
_SPECIAL = [bytes((byte,)) for byte in b"\0\r\n :@!;=\\,\x01\xff\xc3"] + [b"\xe2\x80"]
_word = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0 :"), min_size=1, max_size=6)
_tag = st.builds(
    lambda key, value: f"{key}={value}" if value is not None else key,
    st.from_regex(r"\A\+?([a-z]{1,4}/)?[a-z-]{1,6}\Z"),
    st.one_of(st.none(), st.text("ab=\\:srn ä", max_size=8)),
)


@st.composite
def lines(draw: st.DrawFn, *, trailing: bool = True) -> bytes:
    """A line with all its parts: tags, source, command, parameters, and a text unless it is left to the test."""
    tags = draw(st.lists(_tag, max_size=4))
    source = draw(st.one_of(st.none(), st.builds("{}!{}@{}".format, _word, _word, _word), _word))
    command = draw(st.sampled_from(["PRIVMSG", "MODE", "001", "353", "BATCH", "TAGMSG", "QUIT"]))
    middles = draw(st.lists(_word, max_size=4))
    said = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20))
    text = draw(said) if trailing else None
    line = f"@{';'.join(tag.replace(' ', '') for tag in tags)} " if tags else ""
    line += f":{source} " if source is not None else ""
    line += " ".join((command, *middles))
    return (line if text is None else f"{line} :{text}").encode()


def read(data: bytes) -> Line | None:
    """The line, or None for what is none. Anything else that is raised is a bug."""
    try:
        return parse(data, _DECODE)
    except LineError:
        return None


def sound(line: Line) -> bool:
    """Whether no part of a line could leave its place again."""
    parts = (line.command, *line.params, *(line.source or ()), *line.tags)
    middles = all(param and " " not in param and param[0] != ":" for param in line.params[:-1])
    return middles and line.command.isalnum() and not any(set(part) & {"\r", "\n", "\0"} for part in parts)


@settings(max_examples=60)
@given(lines(), st.sampled_from(_SPECIAL), st.integers(0, 2))
@example(b"@a=\\ PING", b"\\", 1)
@example(b":@ PRIVMSG", b" ", 0)
def test_damage_at_any_byte_is_survived(line: bytes, special: bytes, how: int) -> None:
    """A byte put in, taken out or changed at each place: a sound line or none, and the same in whatever pieces."""
    assert read(line) is not None
    for place in range(len(line) + 1):
        damaged = line[:place] + (b"" if how == 1 else special) + line[place + (how > 0) :]
        found = read(damaged)
        assert found is None or sound(found)
        boring(damaged, own_mark("me"))
        whole, single = LineBuffer(), LineBuffer()
        stream = damaged + b"\r\n" + line + b"\r\n"
        expected = whole.feed(stream)
        assert [out for byte in stream for out in single.feed(bytes((byte,)))] == expected
        assert expected[-1] == line


@settings(max_examples=200)
@given(lines(trailing=False), st.sampled_from(_SPECIAL))
def test_damage_in_the_text_changes_the_text_only(head: bytes, special: bytes) -> None:
    """What a stranger writes in a text, whatever its bytes, is neither tag, source nor channel."""
    before = read(head)
    after = read(head + b" :" + special + b"@time=x :evil!e@e QUIT :" + special)
    assert before is not None and after is not None
    assert (after.tags, after.source, after.command) == (before.tags, before.source, before.command)
    assert after.params[: len(before.params)] == before.params


_names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12)


@settings(max_examples=200)
@given(st.sampled_from(["ascii", "rfc1459", "rfc1459-strict", "rfc7613", "unknown"]), _names, _names)
def test_names_that_fold_alike_are_one(mapping: str, one: str, other: str) -> None:
    """Folding joins upper and lower case, and nothing but names that its network joins."""
    fold = casemap(mapping)
    assert fold(fold(one)) == fold(one)
    if one.isascii():
        assert fold(one.upper()) == fold(one.lower()) or mapping not in ("ascii", "rfc7613")
    if fold(one) != fold(other):
        assert one != other
    elif mapping == "ascii" and one.isascii() and other.isascii():
        assert one.lower() == other.lower()


@settings(max_examples=200)
@given(st.text("#&+!abAB[]~^-_0,\x07 ", min_size=1, max_size=10), st.text("#&+!abAB[]~^-_0", min_size=1, max_size=10))
def test_channels_have_one_id_each(one: str, other: str) -> None:
    """Two channels share an id exactly when the network says that they are one, and an id is its own."""
    network = from_tokens({"CHANTYPES": "#&+!", "CASEMAPPING": "rfc1459"})
    ids = [chat_id(name, network) for name in (one, other) if is_channel(name, network)]
    assert all(chat_id(name, network) == name and is_channel(name, network) for name in ids)
    if len(ids) == 2:
        assert (ids[0] == ids[1]) == (network.fold(one) == network.fold(other))


_host = st.text("abcdefghijklmnopqrstuvwxyz0123456789.:/-", min_size=1, max_size=63)


@settings(max_examples=200)
@given(
    st.builds(Envelope, st.text("abcXYZ[]_", min_size=1, max_size=30), st.text("ab~", min_size=1, max_size=10), _host),
    st.sampled_from(["PRIVMSG", "NOTICE"]),
    st.text("#abc", min_size=1, max_size=50),
    st.booleans(),
    st.text(
        st.one_of(
            st.sampled_from(" ä€👩\u200d🚀\x02\x1f"), st.characters(codec="utf-8", exclude_characters="\r\n\0\x01")
        ),
        max_size=900,
    ),
)
def test_every_line_fits_as_the_server_passes_it_on(
    envelope: Envelope, command: str, target: str, action: bool, text: str
) -> None:
    """With our prefix, the target and CTCP around it no line is longer than 512 bytes, and nothing is lost or cut."""
    try:
        room = envelope.room(command, target, action=action)
    except NoRoom:
        return
    pieces = split(text, room)
    for piece in pieces:
        said = f"\x01ACTION {piece}\x01" if action else piece
        source = parse_source(f"{envelope.nick}!{envelope.user}@{envelope.host}")
        line = f":{source.nick}!{source.user}@{source.host} {command} {target} :{said}\r\n"
        assert len(line.encode()) <= 512
    assert "".join(map(strip_codes, pieces)) == strip_codes(text)
