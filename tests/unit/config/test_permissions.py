"""Permissions: patterns, which of several lines counts, and what no pattern can cost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.config.globs import Glob
from bridge_core.config.masks import check_mask, names_everybody
from bridge_core.config.model import Config
from bridge_core.config.policy import Permission
from bridge_core.config.rules import Rules

BLOCKED, RELAY, USER, ADMIN = Permission.BLOCKED, Permission.RELAY, Permission.USER, Permission.ADMIN

RULES = Rules(
    {
        "*": RELAY,
        "*.example.org": USER,
        "chat.example.org": RELAY,
        "local": USER,
        "@*-bot:hs.test": RELAY,
        "@boss-bot:hs.test": ADMIN,
        "@*:friend.org": USER,
        "@[::1]*:friend.org": RELAY,
        "bad.example.org": BLOCKED,
        "@good:bad.example.org": ADMIN,
        "@*spam*:*": BLOCKED,
    },
    "hs.test",
)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("@a:anywhere.net", RELAY),
        ("@a:x.example.org", USER),
        ("@a:example.org", RELAY),
        ("@a:chat.example.org", RELAY),
        ("@a:hs.test", USER),
        ("@news-bot:hs.test", RELAY),
        ("@boss-bot:hs.test", ADMIN),
        ("@a:friend.org", USER),
        ("@a:friend.org:8448", RELAY),
    ],
)
def test_the_closest_mask_counts(user: str, expected: Permission) -> None:
    """A user beats patterns of users, these beat a server, that beats patterns of servers, and these everybody."""
    assert RULES.of(user) is expected


@pytest.mark.parametrize(
    "user", ["@good:bad.example.org", "@a:bad.example.org", "@spammer:hs.test", "@SPAM:friend.org", "@xspam:[::1]:80"]
)
def test_deny_wins(user: str) -> None:
    """A line that says blocked beats every other one, however closely that names the user; case hides nobody."""
    assert RULES.of(user) is BLOCKED


@pytest.mark.parametrize("user", ["@a:evil:x.example.org", "@a:x.example.org\n", "a:x.example.org", "@:x.example.org"])
def test_what_is_no_user_is_nobody(user: str) -> None:
    """Not even the line for everybody lets in what is no user id."""
    assert RULES.of(user) is BLOCKED


@pytest.mark.parametrize("mask", ["*", "**", "@*:*", "*.*", "@?*:*"])
def test_nobody_can_shut_out_everybody(mask: str) -> None:
    """`*: blocked` would lock out the admin too, and says what is so already: it is refused in words."""
    assert names_everybody(mask)
    base = {
        "homeserver": {"address": "http://h", "domain": "d"},
        "journal": {"secret": "J7xq2LmVt9Rk4WzB1nYc8HsD5fPg3QaE"},
    }
    Config.model_validate({**base, "networks": {"n": {}}, "permissions": {mask: "relay"}})
    with pytest.raises(ValueError, match="who is not named is blocked already"):
        Config.model_validate({**base, "networks": {"n": {}}, "permissions": {mask: "blocked"}})


@pytest.mark.parametrize("mask", ["", "@a", "a b", "@a:b:c", "#room:x", "@*a*b*c*d*e*f*g*h*i:x", "x" * 300, "@a\n:x"])
def test_what_is_no_mask_is_refused(mask: str) -> None:
    """Rooms, halves of user ids, and patterns too intricate to be meant."""
    with pytest.raises(ValueError):
        check_mask(mask)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.text("ab*?", min_size=1, max_size=8), st.text("ab", max_size=8))
def test_patterns_mean_what_they_say(pattern: str, text: str) -> None:
    """A pattern matches exactly what the plain reading of `*` and `?` says."""
    plain = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
    assert Glob.parse(pattern).matches(text) is (re.fullmatch(plain, text) is not None)


def test_no_pattern_is_a_bomb() -> None:
    """The worst pattern that is read ends: backtracking over its stars would try 255**8 / 8! ways."""
    bomb = Glob.parse("*".join("aaaaaaaab"))
    assert bomb.text.count("*") == 8
    assert not bomb.matches("a" * 255)
    assert bomb.matches("a" * 254 + "b")
