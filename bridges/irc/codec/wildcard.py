"""Masks with `*` and `?`, as IRC writes them (RFC 2812 section 2.5; escapes are not used on today's networks)."""


def wild_match(mask: str, text: str) -> bool:
    """Whether a mask names a text, both folded by the caller. Takes len(mask) * len(text) steps at most."""
    at = place = 0
    star, back = -1, 0
    while place < len(text):
        if at < len(mask) and mask[at] == "*":
            star, back = at, place
            at += 1
        elif at < len(mask) and mask[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            back += 1
            at, place = star + 1, back
        else:
            return False
    return not mask[at:].strip("*")
