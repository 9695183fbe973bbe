"""Names that strangers give to people and files, made fit to be shown."""

import re
import unicodedata
from typing import Final

from bridges.email.codec.addresses import Address

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]+"
)
_SPACES = re.compile(r"\s+")
_PATHS = re.compile(r'[/\\:*?"<>|]+')
_LONGEST_NAME: Final = 100
_LONGEST_FILE: Final = 120
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")
_MIXED: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})


def shown(text: str, longest: int) -> str:
    """The text in one line without what turns it round or is not seen, at most so many characters."""
    return _SPACES.sub(" ", _UNSEEN.sub("", text[: 8 * longest])).strip()[:longest].rstrip()


def has_unseen(text: str) -> bool:
    """Whether the text holds what turns it round or is not seen."""
    return _UNSEEN.search(text) is not None


def person_name(name: str, address: Address) -> str:
    """What a person is called by a header; with the address where the name could be taken for another one.

    So it is for a name that holds an address, and for one whose letters are of several scripts that look alike.
    """
    name = shown(name.strip().strip("\"'").strip(), _LONGEST_NAME)
    plain = unicodedata.normalize("NFKC", name).casefold()
    if plain in ("", str(address).casefold()):
        return ""
    if "@" in plain or mixes_scripts(name):
        return f"{name} <{shown_address(address)}>"
    return name


def shown_address(address: Address) -> str:
    """The address for people: its domain in ASCII where its letters could be mistaken for others."""
    domain = address.domain
    if mixes_scripts(domain) or any(_whole_script(label) for label in domain.split(".")):
        try:
            domain = address.wire_domain
        except ValueError:
            domain = ascii(domain)[1:-1]
    return f"{shown(address.local, 64)}@{domain}"


def mixes_scripts(text: str) -> bool:
    """Whether letters of several scripts that look alike stand in one word."""
    return not text.isascii() and any(len(_scripts(word)) > 1 for word in text.split())


def file_name(name: str, mime: str = "") -> str:
    """A name for a file: no path, no control or turning characters, no device of Windows; never empty."""
    if len(name) > 2000:
        name = name[:1000] + name[-1000:]
    name = unicodedata.normalize("NFC", name)
    name = re.split(r"[/\\]", name)[-1]
    name = _PATHS.sub("_", shown(name, 2000)).strip(". ")
    if _RESERVED.match(name):
        name = f"_{name}"
    if len(name) > _LONGEST_FILE:
        stem, dot, ending = name.rpartition(".")
        name = f"{stem[: _LONGEST_FILE - 13]}{dot}{ending}" if stem and len(ending) <= 12 else name[:_LONGEST_FILE]
    return name or f"file{ENDINGS.get(mime, '')}"


ENDINGS: Final = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    "application/zip": ".zip",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "text/vcard": ".vcf",
    "message/rfc822": ".eml",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "video/mp4": ".mp4",
    "application/pgp-encrypted": ".asc",
    "application/pkcs7-mime": ".p7m",
    "application/ms-tnef": ".dat",
    "text/rtf": ".rtf",
}


def _scripts(word: str) -> frozenset[str]:
    return frozenset(
        script
        for character in word[:200]
        if character.isalpha() and (script := unicodedata.name(character, "").partition(" ")[0]) in _MIXED
    )


def _whole_script(label: str) -> bool:
    """Whether a label is of one script, but every letter of it has a Latin double (such as Cyrillic `раура`)."""
    letters = [character for character in label if character.isalpha()]
    return bool(letters) and all(character in _DOUBLES for character in letters)


_DOUBLES: Final = frozenset("асеорхуіјѕԁԛԝһӏАВЕКМНОРСТХορνυικΑΒΕΗΙΚΜΝΟΡΤΥΧΖ")
