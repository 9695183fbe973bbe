"""What a network says of itself: encodings, case, ISUPPORT, modes."""

import pytest

from bridges.irc.codec.casemap import casemap
from bridges.irc.codec.encoding import Decoder
from bridges.irc.codec.isupport import Isupport, from_tokens
from bridges.irc.codec.modes import ModeChange, ModeKind, ModeLine, apply_user_modes, parse_modes


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("héllo".encode(), "héllo"),
        (b"caf\xe9 ol\xe9", "café olé"),
        (b"caf\xe9", "café"),
        (b"\x93quoted\x94 \x81", "\u201cquoted\u201d \ufffd"),
        ("né".encode() + b"\xe2\x82", "né"),
        (b"x" * 400 + b"\xf0\x9f", "x" * 400),
    ],
)
def test_decoding(data: bytes, text: str) -> None:
    """UTF-8 first, a cut-off last character trimmed, else the fallback, with its holes replaced."""
    assert Decoder()(data) == text


def test_utf8_only_networks_have_no_fallback() -> None:
    """With UTF8ONLY broken bytes are replaced, never read as something else."""
    assert Decoder(utf8_only=True)(b"caf\xe9 ol\xc3") == "caf\ufffd ol\ufffd"
    assert Decoder(utf8_only=True)(b"caf\xe2\x82") == "caf"


@pytest.mark.parametrize("name", ["utf-7", "utf-16", "cp500", "rot13", "hex", "nonsense", ""])
def test_encodings_without_ascii_are_refused(name: str) -> None:
    """An encoding that would change the protocol's own characters is refused when configured."""
    with pytest.raises(ValueError, match="ASCII"):
        Decoder(name)


@pytest.mark.parametrize(
    ("mapping", "name", "folded"),
    [
        ("ascii", "Ab[]\\~É", "ab[]\\~É"),
        ("rfc1459", "Ab[]\\~É", "ab{}|^É"),
        ("rfc1459-strict", "Ab[]\\~É", "ab{}|~É"),
        ("rfc7613", "Ab[]\\~É\uff21", "ab[]\\~éa"),
        ("something-new", "A~", "a^"),
        ("", "A~", "a^"),
    ],
)
def test_casemappings(mapping: str, name: str, folded: str) -> None:
    """Each mapping folds what it names; unknown ones are rfc1459."""
    assert casemap(mapping)(name) == folded


def test_isupport_defaults() -> None:
    """Before the first 005 the protocol's defaults hold, the same as for an empty set of tokens."""
    empty = Isupport()
    assert empty == from_tokens({})
    assert (empty.prefix_modes, empty.prefix_symbols, empty.chantypes, empty.linelen) == ("ov", "@+", "#&", 512)


def test_isupport_tokens() -> None:
    """Tokens are read, unescaped, replaced and removed."""
    first = Isupport().updated(
        (
            "me",
            "CASEMAPPING=ascii",
            "CHANTYPES=#!",
            "PREFIX=(qaohv)~&@%+",
            "CHANMODES=beI,k,lfj,imnpst",
            "STATUSMSG=@+",
            "TARGMAX=PRIVMSG:4,JOIN:,KICK:1",
            "MAXLIST=be:100,I:50",
            "NICKLEN=30",
            "LINELEN=2048",
            "UTF8ONLY",
            "NETWORK=Test\\x20Net\\x3D1",
            "MODES=",
            "are supported by this server",
        )
    )
    assert first.network == "Test Net=1"
    assert (first.prefix_modes, first.prefix_symbols, first.list_modes) == ("qaohv", "~&@%+", "beI")
    assert first.targmax == {"PRIVMSG": 4, "JOIN": None, "KICK": 1}
    assert first.maxlist == {"b": 100, "e": 100, "I": 50}
    assert (first.nicklen, first.linelen, first.utf8_only, first.modes_per_line) == (30, 2048, True, None)
    assert first.fold("[A]") == "[a]"
    second = first.updated(("me", "-UTF8ONLY", "-NICKLEN", "LINELEN=9", "PREFIX=", "CHANTYPES=", "text"))
    assert (second.utf8_only, second.nicklen, second.linelen) == (False, 9, 512)
    assert (second.prefix_modes, second.chantypes) == ("", "")
    assert second.network == "Test Net=1"


def test_isupport_is_bounded() -> None:
    """A server that goes on naming tokens, or huge numbers, is not followed."""
    state = Isupport()
    for batch in range(100):
        state = state.updated(("me", *(f"T{batch}X{number}=1" for number in range(13)), "text"))
    assert len(state.tokens) == 256
    assert state.updated(("me", "LINELEN=999999999999", "text")).linelen == 512


def test_status_messages_and_member_prefixes() -> None:
    """A status prefix counts only where the server names it and a channel follows."""
    state = from_tokens({"PREFIX": "(ov)@+", "STATUSMSG": "@+", "CHANTYPES": "#"})
    assert state.split_target("@#chan") == ("@", "#chan")
    assert state.split_target("@nick") == ("", "@nick")
    assert state.split_target("~#chan") == ("", "~#chan")
    assert Isupport().split_target("@#chan") == ("", "@#chan")
    assert state.split_prefixes("@+nick") == ("ov", "nick")
    assert state.split_prefixes("nick") == ("", "nick")
    assert state.split_prefixes("@") == ("o", "")


NETWORK = from_tokens({"PREFIX": "(qov)~@+", "CHANMODES": "beI,k,lf,imnpst"})


def change(text: str, kind: ModeKind, arg: str | None = None) -> ModeChange:
    return ModeChange(text[0] == "+", text[1], kind, arg)


def test_modes_by_kind() -> None:
    """Every kind takes a parameter exactly when it has one."""
    assert parse_modes(NETWORK, ("+o-v+bkl-lk+im", "alice", "bob", "*!*@x", "key", "5", "key")) == ModeLine(
        (
            change("+o", ModeKind.PREFIX, "alice"),
            change("-v", ModeKind.PREFIX, "bob"),
            change("+b", ModeKind.LIST, "*!*@x"),
            change("+k", ModeKind.SETTING, "key"),
            change("+l", ModeKind.SET_ONLY, "5"),
            change("-l", ModeKind.SET_ONLY),
            change("-k", ModeKind.SETTING, "key"),
            change("+i", ModeKind.FLAG),
            change("+m", ModeKind.FLAG),
        )
    )


def test_asking_for_a_list_changes_nothing() -> None:
    """A list mode without a mask is a question."""
    assert parse_modes(NETWORK, ("+b",)) == ModeLine(())
    assert parse_modes(NETWORK, ("+ib", "")) == ModeLine((change("+i", ModeKind.FLAG),))


def test_cve_2022_39202_multiple_modes_reach_the_right_person() -> None:
    """CVE-2022-39202: a mode without parameter in front of +o does not move the nick to someone else."""
    line = parse_modes(NETWORK, ("-l+o", "alice"))
    assert line.changes == (change("-l", ModeKind.SET_ONLY), change("+o", ModeKind.PREFIX, "alice"))
    line = parse_modes(NETWORK, ("+sno-v", "alice", "bob"))
    assert line.changes[2:] == (change("+o", ModeKind.PREFIX, "alice"), change("-v", ModeKind.PREFIX, "bob"))


@pytest.mark.parametrize(
    "params",
    [("+Zo", "x", "alice"), ("+o", "alice", "bob"), ("+ov", "alice"), ("+o",), ("+k",), ("+bo", "alice"), ("i", "x")],
)
def test_misfitting_parameters_are_not_believed(params: tuple[str, ...]) -> None:
    """Where letters and parameters do not fit, nobody gets anything, and the line says that it is doubtful."""
    line = parse_modes(NETWORK, params)
    assert line.doubtful
    assert all(item.arg is None for item in line.changes)


def test_user_modes() -> None:
    """Own modes follow the letters."""
    assert apply_user_modes(frozenset("i"), "+wx-i") == frozenset("wx")
