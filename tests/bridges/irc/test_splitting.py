"""Long lines, measured in bytes."""

import pytest

from bridges.irc.codec.serializer import serialize
from bridges.irc.formatting import strip_codes
from bridges.irc.splitting import Envelope, NoRoom, split


def test_room_is_what_the_server_leaves() -> None:
    """The line as others get it is exactly as long as the limit."""
    envelope = Envelope("nick", "~user", "host.example")
    room = envelope.room("PRIVMSG", "#chan")
    line = b":nick!~user@host.example " + serialize("PRIVMSG", "#chan", ": " + "x" * (room - 2))
    assert len(line) == 512
    assert envelope.room("PRIVMSG", "#chan", action=True) == room - 9


def test_unknown_hosts_are_assumed_long() -> None:
    """Without our host the longest one and some safety is left free."""
    assert Envelope("n", "u", None).room("PRIVMSG", "#c") == Envelope("n", "u", "h" * 73).room("PRIVMSG", "#c")
    assert Envelope("n").room("PRIVMSG", "#c") < Envelope("n", "u").room("PRIVMSG", "#c")


def test_longer_lines_where_the_network_has_them() -> None:
    """LINELEN is followed; names that leave no room are an error."""
    assert Envelope("n", "u", "h", 2048).room("PRIVMSG", "#c") == Envelope("n", "u", "h").room("PRIVMSG", "#c") + 1536
    with pytest.raises(NoRoom):
        Envelope("n", "u", "h").room("PRIVMSG", "#" + "c" * 440)


def test_short_texts_are_one_piece() -> None:
    """What fits is not touched; nothing gives nothing."""
    assert split("hello", 64) == ["hello"]
    assert split("x" * 64, 64) == ["x" * 64]
    assert split("", 64) == []


def test_split_behind_spaces() -> None:
    """Words stay whole, and the space stays at the end of its line."""
    pieces = split("word " * 30, 64)
    assert all(piece.endswith("word ") for piece in pieces)
    assert "".join(pieces) == "word " * 30


def test_long_words_are_cut() -> None:
    """A word longer than a line fills its lines."""
    assert split("x" * 150, 64) == ["x" * 64, "x" * 64, "x" * 22]


@pytest.mark.parametrize(
    "cluster",
    [
        "é",
        "e\u0301",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "\u2764\ufe0f",
        "\U0001f44d\U0001f3fd",
        "\U0001f1e9\U0001f1ea",
        "\u1112\u1161\u11ab",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "1\ufe0f\u20e3",
    ],
)
def test_characters_stay_whole(cluster: str) -> None:
    """What the eye takes for one character is never cut, wherever the limit falls."""
    for shift in range(len(cluster.encode())):
        pieces = split("x" * shift + cluster * 30, 64)
        assert "".join(pieces) == "x" * shift + cluster * 30
        assert all(len(piece.encode()) <= 64 for piece in pieces)
        assert all(piece.lstrip("x").count(cluster) * len(cluster) == len(piece.lstrip("x")) for piece in pieces)


def test_endless_clusters_are_cut_after_all() -> None:
    """A character with hundreds of marks does not stop the splitting."""
    text = "a" + "\u0301" * 500
    pieces = split(text, 64)
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= 64 for piece in pieces)


def test_styles_are_opened_again() -> None:
    """Each continuation starts in the look in which the line before it ended."""
    pieces = split("\x02\x1d\x0304,02" + "word " * 30 + "\x0fend", 64)
    assert all(piece.startswith("\x02\x1d\x0304,02") for piece in pieces)
    assert strip_codes("".join(pieces)) == "word " * 30 + "end"


def test_opened_colours_do_not_eat_digits() -> None:
    """A continuation that begins with a digit or comma is guarded."""
    pieces = split("\x0304" + "5,6 " * 40, 64)
    assert strip_codes("".join(pieces)) == "5,6 " * 40
    assert pieces[1].startswith("\x0304\x02\x025")


def test_control_sequences_stay_whole() -> None:
    """A colour code at the limit goes to the next line in one piece."""
    for length in range(50, 64):
        text = "x" * length + "\x0304,12" + "y" * 60
        pieces = split(text, 64)
        assert strip_codes("".join(pieces)) == "x" * length + "y" * 60
        assert all(len(piece.encode()) <= 64 for piece in pieces)


def test_pieces_of_codes_alone_are_left_out() -> None:
    """Codes behind the last character make no line of their own."""
    assert split("\x02" + "x" * 63 + "\x0f", 64) == ["\x02" + "x" * 63]
