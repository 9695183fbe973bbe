"""Which names are the same name, by ISUPPORT CASEMAPPING."""

import unicodedata
from collections.abc import Callable
from types import MappingProxyType
from typing import Final, TypeAlias

Fold: TypeAlias = Callable[[str], str]
"""A name to the form in which equal names are equal strings. Idempotent."""

_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ASCII: Final = MappingProxyType(str.maketrans(_UPPER, _UPPER.lower()))
_STRICT: Final = MappingProxyType(str.maketrans(_UPPER + "[]\\", _UPPER.lower() + "{}|"))
_RFC1459: Final = MappingProxyType(str.maketrans(_UPPER + "[]\\~", _UPPER.lower() + "{}|^"))


def fold_ascii(name: str) -> str:
    """Only A to Z are folded."""
    return name.lower() if name.isascii() else name.translate(_ASCII)


def fold_rfc1459(name: str) -> str:
    """A to Z, and `[]\\~` to `{}|^` (RFC 1459 section 2.2)."""
    return name.translate(_RFC1459)


def fold_rfc1459_strict(name: str) -> str:
    """A to Z, and `[]\\` to `{}|`."""
    return name.translate(_STRICT)


def fold_rfc7613(name: str) -> str:
    """Nearly the UsernameCaseMapped profile of RFC 7613 section 3.2: width, case, NFC; nothing is refused."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFC", _narrow(name).lower())
    # Lower-casing and composing can each make work for the other; three rounds settle all of Unicode.
    for _ in range(3):
        again = unicodedata.normalize("NFC", _narrow(folded).lower())
        if again == folded:
            break
        folded = again
    return folded


def _narrow(name: str) -> str:
    """Full-width and half-width characters as their ordinary forms."""
    return "".join(
        unicodedata.normalize("NFKC", character)
        if unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
        else character
        for character in name
    )


def casemap(mapping: str) -> Fold:
    """The fold that a CASEMAPPING value names; an unknown one means rfc1459, as the protocol's default does."""
    match mapping.lower():
        case "ascii":
            return fold_ascii
        case "rfc1459-strict" | "strict-rfc1459":
            return fold_rfc1459_strict
        case "rfc7613" | "rfc8265" | "rfc7700" | "precis":
            return fold_rfc7613
        case _:
            return fold_rfc1459
