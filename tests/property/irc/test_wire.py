"""Whatever bytes a server sends and whatever text a stranger writes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bridges.irc.codec.caps import CapNegotiation
from bridges.irc.codec.casemap import casemap
from bridges.irc.codec.encoding import Decoder
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.lines import TAG_LIMIT, LineBuffer
from bridges.irc.codec.message import Line, LineError, parse
from bridges.irc.codec.modes import ModeKind, parse_modes
from bridges.irc.codec.prefilter import boring, own_mark
from bridges.irc.codec.sasl import Plain, SaslSession
from bridges.irc.codec.scram import Scram
from bridges.irc.codec.serializer import UnsafeLine, serialize

PIECES = [
    b":",
    b" ",
    b"@",
    b"!",
    b";",
    b"=",
    b"\\",
    b"\r",
    b"\n",
    b"\0",
    b"PRIVMSG",
    b"001",
    b"#c",
    b"\xc3",
    b"\xa4",
    b"a",
]
wire = st.one_of(
    st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), st.text().map(str.encode)
)
word = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0 "), min_size=1).filter(
    lambda text: text[0] != ":"
)
trailing = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))
numerics = st.integers(0, 999).map(lambda number: f"{number:03}")


@settings(max_examples=200)
@given(wire)
def test_parsing_never_fails_otherwise(data: bytes) -> None:
    """Any bytes are a line or a LineError, and no part of a line can leave its place again."""
    try:
        line = parse(data, Decoder("cp1252"))
    except LineError:
        return
    assert line.command.isalnum()
    for part in (line.command, *line.params, *(line.source or ())):
        assert not set(part) & {"\r", "\n", "\0"}
    assert all(param and " " not in param and param[0] != ":" for param in line.params[:-1])


@settings(max_examples=200)
@given(st.one_of(numerics, st.sampled_from(["PRIVMSG", "JOIN"])), st.lists(word, max_size=6), trailing, st.data())
def test_what_is_serialized_parses_to_the_same(
    command: str, middles: list[str], last: str, data: st.DataObject
) -> None:
    """Serializing and parsing are inverse, tags included."""
    keys = st.from_regex(r"\A\+?([a-z0-9.-]+/)?[a-z0-9-]+\Z")
    tags = data.draw(st.dictionaries(keys, trailing, max_size=4))
    line = serialize(command, *middles, last, tags=tags, limit=65536)
    assert parse(line) == Line(tags, None, command, (*middles, last))
    assert line.count(b"\n") == line.count(b"\r") == 1
    assert LineBuffer(65536).feed(line) == [line[:-2]]


@settings(max_examples=200)
@given(st.text(), st.lists(st.text(), max_size=4), st.dictionaries(st.text(), st.text(), max_size=2))
def test_no_text_makes_two_lines(command: str, params: list[str], tags: dict[str, str]) -> None:
    """CVE-2022-29166, CVE-2025-27146: whatever the values, the result is one line of the same shape, or UnsafeLine."""
    for name in (command, "PRIVMSG"):
        try:
            line = serialize(name, *params, tags=tags)
        except UnsafeLine:
            continue
        assert LineBuffer().feed(line) == [line[:-2]]
        assert parse(line).params == tuple(params)


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(wire, st.sampled_from([b"x" * 600, b"@" + b"t" * 9000, b"\r" * 9000, b" ", b"\n"])), max_size=12
    ),
    st.lists(st.integers(1, 700), min_size=1, max_size=20),
)
def test_lines_do_not_depend_on_the_pieces(parts: list[bytes], sizes: list[int]) -> None:
    """A stream gives the same lines and counts whole, in pieces and byte by byte, within its bounds."""
    stream = b"".join(parts)
    whole, pieces, single = LineBuffer(), LineBuffer(), LineBuffer()
    expected = whole.feed(stream)
    got: list[bytes] = []
    place = turn = 0
    while place < len(stream):
        size = sizes[turn % len(sizes)]
        got += pieces.feed(stream[place : place + size])
        place, turn = place + size, turn + 1
        assert pieces.held <= TAG_LIMIT + pieces.limit
    assert got == expected
    one_by_one = [line for byte in stream for line in single.feed(bytes((byte,)))]
    assert one_by_one == expected
    assert whole.overlong == pieces.overlong == single.overlong
    for line in expected:
        assert len(line.partition(b" ")[2] if line.startswith(b"@") else line) <= 510


@settings(max_examples=100)
@given(st.sampled_from(["ascii", "rfc1459", "rfc1459-strict", "rfc7613"]), st.text())
def test_folding_twice_changes_nothing(mapping: str, name: str) -> None:
    """A folded name is its own fold."""
    fold = casemap(mapping)
    assert fold(fold(name)) == fold(name)


@settings(max_examples=100)
@given(st.binary(), st.sampled_from(["cp1252", "latin-1", "shift_jis", "iso2022_jp", "koi8-r"]), st.booleans())
def test_decoding_never_fails(data: bytes, fallback: str, utf8_only: bool) -> None:
    """Any bytes become text, and bytes without line ends become text without line ends."""
    clean = data.translate(None, b"\r\n\0")
    assert not set(Decoder(fallback, utf8_only=utf8_only)(clean)) & {"\r", "\n", "\0"}


tokens = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.builds(
            "{}={}".format,
            st.sampled_from(
                ["PREFIX", "CHANMODES", "CHANTYPES", "TARGMAX", "LINELEN", "MAXLIST", "STATUSMSG", "MODES"]
            ),
            st.text("(ovb)@+,:#0123456789\\x20-", max_size=20),
        ),
    ),
    max_size=8,
)


@settings(max_examples=150)
@given(tokens, st.lists(st.text(max_size=8), max_size=6), st.text("+-ovbklimZ", max_size=10))
def test_hostile_networks(values: list[str], args: list[str], letters: str) -> None:
    """CVE-2022-39202: any ISUPPORT and MODE are read without failing; believed parameters are complete."""
    network = Isupport().updated(("me", *values, "text"))
    assert len(network.prefix_modes) == len(network.prefix_symbols)
    network.split_prefixes("@+nick")
    network.split_target("@#chan")
    line = parse_modes(network, (letters, *args))
    given_args = list(args)
    while given_args and not given_args[-1].strip():
        given_args.pop()
    believed = [change.arg for change in line.changes if change.arg is not None]
    assert believed == ([] if line.doubtful else given_args)
    assert all(change.arg is not None for change in line.changes if change.kind is ModeKind.PREFIX)


@settings(max_examples=100)
@given(st.lists(wire, max_size=20))
def test_hostile_sessions(lines: list[bytes]) -> None:
    """Negotiation, login and prefilter take any line without failing, and answer with whole lines only."""
    caps = CapNegotiation(["sasl", ("a", "b"), "batch"], {"batch": "a"})
    login = SaslSession([Scram("user", "pencil"), Plain("user", "pencil")])
    answers = caps.start() + login.start()
    for data in lines:
        boring(data, own_mark("me"))
        for start in (b"", b"CAP * LS ", b"CAP * ACK :", b"CAP * NAK :", b"CAP * NEW :", b"AUTHENTICATE ", b":s 908 "):
            try:
                line = parse(start + data)
            except LineError:
                continue
            answers += caps.receive(line) + login.receive(line)
    assert all(answer.endswith(b"\r\n") and answer.count(b"\n") == 1 and len(answer) <= 512 for answer in answers)
