"""Whether namespaces of several registrations collide."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.automaton import Unsupported, overlap


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (r"@_irc_.*:example\.org", r"@_xmpp_.*:example\.org", False),
        (r"@_irc_.*:example\.org", r"@_irc_libera_.*:example\.org", True),
        (r"@irc_.*", r"@_irc_.*", False),
        (r"@_irc_.*:a\.org", r"@_irc_.*:b\.org", True),  # `.*` may hold `:b.org` too
        (r"@_irc_[a-z]+:a\.org$", r"@_irc_[a-z]+:b\.org$", False),
        (r"@.*", r"@_irc_.*:example\.org", True),
        (r".*", r"#x", True),
        (r"@telegram_[0-9]+:x", r"@telegram_[a-z]+:x", False),
        (r"@(a|b)_.*:x", r"@[cd]_.*:x", False),
        (r"@(?:a|b)_.*:x", r"@[bd]_.*:x", True),
        (r"@bot", r"@bot2:example\.org", True),  # homeservers match the start only
        (r"@bot:x$", r"@bot2:x$", False),
        (r"@a{2}b?c:", r"@aac:", True),
        (r"@a{3,}c:", r"@aac:", False),
        (r"@a+b*:$", r"@aba:$", False),
        (r"@\w\d:", r"@_5:", True),
        (r"@[^_].*:x", r"@_irc_.*:x", False),
    ],
)
def test_known_pairs(first: str, second: str, expected: bool) -> None:
    """Patterns as bridges use them are decided exactly, in both orders."""
    assert expected == overlap(first, second)
    assert expected == overlap(second, first)


@pytest.mark.parametrize("regex", [r"@(?!_).*", r"@(?P<x>a)(?P=x)", r"@a\b", r"(?i)@a", r"@a^b", "(a", "a)"])
def test_what_is_outside_is_refused(regex: str) -> None:
    """Look-around and the like are not guessed at."""
    with pytest.raises(Unsupported):
        overlap(regex, "@a")


_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "(?:a|bb)", "a*", "b+", "a?", "(?:ab){1,2}"])


@given(st.lists(_ATOMS, max_size=4), st.lists(_ATOMS, max_size=4), st.text("abc", max_size=6))
def test_a_common_match_is_always_found(first: list[str], second: list[str], text: str) -> None:
    """Whenever one text matches both expressions, they are said to overlap."""
    one, two = "".join(first), "".join(second)

    if re.match(one, text) and re.match(two, text):
        assert overlap(one, two)


@given(st.lists(_ATOMS, max_size=3), st.text("abc", max_size=6))
def test_a_text_overlaps_only_what_matches_it(atoms: list[str], text: str) -> None:
    """Against one exact text, the answer is that of the regular expression engine."""
    regex = "".join(atoms)

    assert overlap(f"{regex}$", f"{text}$") == bool(re.fullmatch(regex, text))
