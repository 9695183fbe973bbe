"""Names on IRC."""

from itertools import islice

import pytest

from bridge_core.api.ids import UserId
from bridges.irc.codec.isupport import Isupport, from_tokens
from bridges.irc.nicks import (
    BadName,
    alternatives,
    chat_id,
    check_channel,
    check_key,
    check_nick,
    is_channel,
    make_nick,
)

NETWORK = from_tokens({"CHANTYPES": "#&", "CHANNELLEN": "32"})
ALICE = UserId("@alice.b:matrix.test")


@pytest.mark.parametrize(
    ("template", "display", "nick"),
    [
        ("$LOCALPART[m]", "", "aliceb[m]"),
        ("$DISPLAY[m]", "Älice Smith", "AliceSmith[m]"),
        ("$DISPLAY", "", "aliceb"),
        ("M-$USERID", "", "M-aliceb-matrixtest"),
        ("$DISPLAY", "1337", "M1337"),
        ("$DISPLAY", "-dash", "M-dash"),
        ("$DISPLAY", "a:b!c@d e", "abcde"),
    ],
)
def test_nicks_from_templates(template: str, display: str, nick: str) -> None:
    """The template is filled in and cleaned."""
    assert make_nick(template, ALICE, display, 30) == nick


def test_names_without_a_usable_letter() -> None:
    """What IRC can show nothing of gets a nick of its own, the same each time, and not its neighbour's."""
    first = make_nick("$DISPLAY[m]", UserId("@a:x"), "\u65e5\u672c", 30)
    assert first == make_nick("$DISPLAY[m]", UserId("@a:x"), "\u65e5\u672c", 30)
    assert first != make_nick("$DISPLAY[m]", UserId("@b:x"), "\u65e5\u672c", 30)
    assert check_nick(first, 30)


def test_nicks_are_cut() -> None:
    """NICKLEN is kept, also by the alternatives, which all differ."""
    nick = make_nick("$DISPLAY", ALICE, "abcdefghijklmno", 9)
    assert nick == "abcdefghi"
    tried = list(alternatives(nick, 9))
    assert tried[:4] == ["abcdefghi", "abcdefgh_", "abcdefg_2", "abcdefg_3"]
    assert len(set(tried)) == len(tried) == 100
    assert all(check_nick(candidate, 9) for candidate in tried)
    assert list(islice(alternatives("bob", 9), 3)) == ["bob", "bob_", "bob_2"]


@pytest.mark.parametrize("nick", ["", "1a", "-a", "a b", "a\n", "a!b", "a@b", "#a", "ä", ":a", "a" * 31])
def test_bad_nicks(nick: str) -> None:
    """What RFC 2812 does not allow is refused."""
    with pytest.raises(BadName):
        check_nick(nick, 30)


@pytest.mark.parametrize("name", ["#chan", "&local", "##", "#ü", "#a:b", "#a[b]"])
def test_good_channels(name: str) -> None:
    """Channel names pass unchanged."""
    assert check_channel(name, NETWORK) == name
    assert is_channel(name, NETWORK)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "#",
        "chan",
        "+chan",
        "@#chan",
        "#a b",
        "#a,#b",
        "#a\r",
        "#a\nQUIT",
        "#a\0",
        "#a\x07b",
        " #a",
        "#a ",
        "#\ud800",
    ],
)
def test_bad_channels(name: str) -> None:
    """CVE-2023-38690, CVE-2024-52505: what could be more than a channel's name is refused."""
    assert not is_channel(name, NETWORK)
    with pytest.raises(BadName):
        check_channel(name, NETWORK)


def test_channel_names_are_bounded() -> None:
    """CHANNELLEN counts bytes."""
    assert check_channel("#" + "ü" * 15, NETWORK)
    with pytest.raises(BadName):
        check_channel("#" + "ü" * 16, NETWORK)


@pytest.mark.parametrize("key", ["", "a b", "a,b", "a\r\nQUIT", ":a", "ä", "k" * 24, "\x07"])
def test_bad_keys(key: str) -> None:
    """A key is one visible word."""
    with pytest.raises(BadName):
        check_key(key)
    assert check_key("s3cret!") == "s3cret!"


def test_cve_2022_39203_no_two_channels_become_one() -> None:
    """CVE-2022-39203: no name of a channel is read as that of another one."""
    names = [
        "#chan",
        "##chan",
        "&chan",
        "#chan:x",
        "@#chan",
        "#chan ",
        "#chan,#other",
        "#chan\0",
        "#chän",
        "#cha\u0301n",
    ]
    ids = [chat_id(name, NETWORK) for name in names]
    assert len(set(ids)) == len(names)
    assert [name for name in names if is_channel(name, NETWORK)] == [
        "#chan",
        "##chan",
        "&chan",
        "#chan:x",
        "#chän",
        "#cha\u0301n",
    ]


def test_chat_ids_follow_the_casemapping() -> None:
    """The same channel in another spelling has the same id, by the network's own rule."""
    assert chat_id("#Foo[]", Isupport()) == chat_id("#fOO{}", Isupport())
    ascii_only = from_tokens({"CASEMAPPING": "ascii"})
    assert chat_id("#Foo[]", ascii_only) != chat_id("#fOO{}", ascii_only)
