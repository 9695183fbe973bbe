"""Names of ghosts: reversible, within limits, never ambiguous."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration import Template, TemplateError, decode_id, encode_id


@given(st.text(max_size=50))
def test_encoding_is_reversible_and_plain(remote: str) -> None:
    """Any text becomes localpart characters and comes back unchanged."""
    encoded = encode_id(remote)

    assert re.fullmatch(r"[a-z0-9._=/+-]*", encoded)
    assert remote == decode_id(encoded)


@given(st.text(alphabet="abAB_=-./5[é", max_size=12))
def test_decoding_accepts_only_what_encoding_makes(text: str) -> None:
    """Two different localparts never stand for one remote id."""
    decoded = decode_id(text)

    assert decoded is None or encode_id(decoded) == text


def test_encoding_follows_the_appendices() -> None:
    """Upper case and underscore are escaped with an underscore, other bytes as hexadecimal."""
    assert encode_id("Bob_[away].x") == "_bob__=5baway=5d.x"


@given(st.text(min_size=1, max_size=400))
def test_user_ids_stay_within_255_bytes(remote: str) -> None:
    """However long a remote id is, the user id fits, and no plain name looks like a hashed one."""
    template = Template("_{network}_{id}")
    localpart = template.localpart("irc", remote, "example.org")

    assert len(f"@{localpart}:example.org") <= 255
    assert template.remote_id("irc", localpart) in (remote, None)
    assert (template.remote_id("irc", localpart) is None) == localpart.startswith("_irc_=h")


def test_networks_never_share_names() -> None:
    """The name of one network is no start of another's ghosts."""
    template = Template("_{network}_{id}")

    assert template.remote_id("irc", template.localpart("irc-two", "x", "example.org")) is None
    assert template.remote_id("irc", "_irc_") is None


@pytest.mark.parametrize(
    "text",
    ["{id}", "{network}", "_{network}{id}", "_{network}x{id}", "_{id}_{network}", "_{id}x", "_{name}_{id}", "_É{id}"],
)
def test_ambiguous_templates_are_refused(text: str) -> None:
    """A template that claims everybody, or whose parts cannot be told apart, is an error."""
    with pytest.raises(TemplateError):
        Template(text)


def test_regex_matches_the_ghosts_and_nobody_else() -> None:
    """The namespace holds every ghost of its network and server."""
    template = Template("_{network}_{id}")
    regex = template.regex("@", "irc", "example.org")

    assert regex == "@_irc_.*:example\\.org"
    assert re.fullmatch(regex, f"@{template.localpart('irc', 'Bob|x', 'example.org')}:example.org")
    assert not re.match(regex, "@_ircx_bob:example.org")
    assert not re.match(regex, "@_irc_bob:examplexorg")
