"""Which join rule a room gets that the bridge made: the stricter of what the configuration and the network say."""

from typing import Final

_STRICTER: Final = ("public", "knock", "invite")
"""Join rules, each stricter than those before."""


def stricter(widest: str, asked: str | None) -> str:
    """What the network asks for, as long as it lets in nobody whom the configuration keeps out. None asks nothing."""
    if asked is None:
        return widest
    return max(widest, asked if asked in _STRICTER else "invite", key=_STRICTER.index)
