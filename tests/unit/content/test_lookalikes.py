"""Which names people would confuse."""

import pytest

from bridge_core.content.lookalikes import skeleton

ALICE = [
    "alice",
    "ALICE",
    "\u0430lice",  # Cyrillic a
    "al\u0456ce",  # Cyrillic i
    "A1ice",
    "AIice",
    "\uff41\uff4c\uff49\uff43\uff45",  # full width
    "\U0001d4d0\U0001d4f5\U0001d4f2\U0001d4ec\U0001d4ee",  # mathematical bold script
    "al\u200bice",
    "\u202ealice",
    "a.l.i.c.e",
    "al\u00efce",
    "a\u0301l\u0301i\u0301c\u0301e\u0301",
    "\u13aa\u216ci\u03f2\u0435",
]


@pytest.mark.parametrize("name", ALICE)
def test_look_alikes_have_one_skeleton(name: str) -> None:
    """Case, alphabets, accents, spaces and invisible characters do not tell names apart."""
    assert skeleton(name) == skeleton("Alice")


@pytest.mark.parametrize(("one", "other"), [("rnike", "mike"), ("vvalter", "walter"), ("B0B", "bob"), ("Illy", "lIIy")])
def test_letters_that_make_another(one: str, other: str) -> None:
    """Two letters that look like one, and digits that look like letters, count as those."""
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize("other", ["alicia", "bob", "", "ali", "malice", "\u30a2\u30ea\u30b9"])
def test_others_are_others(other: str) -> None:
    """Names that nobody would confuse stay apart."""
    assert skeleton(other) != skeleton("alice")


def test_names_without_letters_are_themselves() -> None:
    """Names of signs alone are not all the same."""
    assert skeleton("\U0001f984") != skeleton("\U0001f525")
    assert skeleton("!!") == skeleton("! !") != ""
