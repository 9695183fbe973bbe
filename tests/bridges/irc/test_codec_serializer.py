"""The one way to the wire, and what must never pass it."""

import pytest

from bridges.irc.codec.message import parse
from bridges.irc.codec.serializer import LineTooLong, UnsafeLine, serialize


def test_lines() -> None:
    """Only a last parameter that needs a colon gets one."""
    assert serialize("QUIT") == b"QUIT\r\n"
    assert serialize("JOIN", "#a", "key") == b"JOIN #a key\r\n"
    assert serialize("PRIVMSG", "#a", "hello you") == b"PRIVMSG #a :hello you\r\n"
    assert serialize("PRIVMSG", "#a", ":)") == b"PRIVMSG #a ::)\r\n"
    assert serialize("TOPIC", "#a", "") == b"TOPIC #a :\r\n"
    assert serialize("PRIVMSG", "#ä", "ü") == "PRIVMSG #ä ü\r\n".encode()


def test_tags_are_escaped() -> None:
    """Tag values are escaped and read back as they were."""
    value = "a;b c\\d:é"
    line = serialize("TAGMSG", "#a", tags={"+draft/react": value, "label": "1", "empty": ""})
    assert line == "@+draft/react=a\\:b\\sc\\\\d:é;label=1;empty TAGMSG #a\r\n".encode()
    assert parse(line).tags == {"+draft/react": value, "label": "1", "empty": ""}


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\r\n"])
@pytest.mark.parametrize("place", ["a{}b", "{}", "a{}", "{}QUIT"])
def test_line_ends_are_refused_everywhere(place: str, character: str) -> None:
    """CR, LF and NUL are refused in every place a line has."""
    value = place.format(character)
    with pytest.raises(UnsafeLine):
        serialize(value, "a")
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", value, "a")
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#a", value)
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#a", "b", tags={value: "x"})
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#a", "b", tags={"x": value})


@pytest.mark.parametrize("middle", ["", " ", "a b", ":a", "a "])
def test_middle_parameters_stay_in_their_place(middle: str) -> None:
    """A parameter that would move the ones behind it is refused."""
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", middle, "text")


@pytest.mark.parametrize("command", ["", "privmsg", "PRIV MSG", ":PRIVMSG", "1", "0001", "PRÍVMSG", "PING\n", "@a"])
def test_invalid_commands_are_refused(command: str) -> None:
    """A command is upper-case letters or three digits."""
    with pytest.raises(UnsafeLine):
        serialize(command)


@pytest.mark.parametrize("key", ["", "a b", "a;b", "a=b", "+", "a/b/c", "ä", "@a"])
def test_invalid_tag_keys_are_refused(key: str) -> None:
    """A tag key cannot become another tag or the end of the tags."""
    with pytest.raises(UnsafeLine):
        serialize("PING", "a", tags={key: "x"})


def test_text_without_utf8_form_is_refused() -> None:
    """Lone surrogates raise the narrow error, in parameters and tags."""
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#a", "\ud800")
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#a", "b", tags={"x": "\ud800"})


def test_lengths_are_bounded_in_bytes() -> None:
    """A body up to the limit passes, one byte more does not; tags have their own limit of 4094 bytes."""
    assert len(serialize("PRIVMSG", "#a", "x " + "y" * 496)) == 512
    with pytest.raises(LineTooLong):
        serialize("PRIVMSG", "#a", "x " + "y" * 497)
    assert len(serialize("PRIVMSG", "#a", "x " + "y" * 497, limit=1024)) == 513
    assert len(serialize("PING", "a", tags={"x": "y" * 4092})) == 4096 + 8
    with pytest.raises(LineTooLong):
        serialize("PING", "a", tags={"x": "y" * 4093})


def test_cve_2022_29166_carriage_return_in_quoted_text() -> None:
    """CVE-2022-29166: a lone CR in replied-to text does not start a command."""
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#chan", "alice: <bob> hello\rQUIT :owned")


def test_cve_2023_38690_newline_in_join_argument() -> None:
    """CVE-2023-38690: a newline in the argument of a join command does not run as the bot."""
    with pytest.raises(UnsafeLine):
        serialize("JOIN", "#chan\nOPER admin hunter2")
    with pytest.raises(UnsafeLine):
        serialize("JOIN", "#chan", "key\r\nQUIT")


def test_cve_2024_52505_command_in_channel_name() -> None:
    """CVE-2024-52505: a channel name from outside cannot carry a command or further parameters."""
    for channel in ("#chan\r\nPRIVMSG NickServ :DROP", "#chan +o mallory", "#chan\0", ":#chan"):
        with pytest.raises(UnsafeLine):
            serialize("MODE", channel, "+b")


def test_cve_2025_27146_line_ends_as_the_user() -> None:
    """CVE-2025-27146: CR LF in a message of a Matrix user does not run as that user's connection."""
    with pytest.raises(UnsafeLine):
        serialize("PRIVMSG", "#chan", "\x01ACTION waves\x01\r\nJOIN 0")
    with pytest.raises(UnsafeLine):
        serialize("NOTICE", "#chan", "a", tags={"+reply": "x\r\nJOIN 0"})
