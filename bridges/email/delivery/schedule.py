"""When a mail is tried again. Pure."""

from typing import Final

DELAYS: Final = (450, 900, 1800, 3600, 7200, 14400, 28800, 57600)
"""Seconds after each try, in the manner of mox; the last one again and again."""
_SOON: Final = (120, 240)
"""Seconds after the first tries where the server asks to come again (greylisting): well within five minutes."""
_ASKS_AGAIN: Final = frozenset({421, 450, 451})
NOTICES: Final = (300, 7200)
"""Seconds after which the sender is told that a mail is delayed."""


def next_delay(attempts: int, code: int, chance: float) -> float:
    """Seconds until the next try after so many; `chance` (0 to 1) spreads them by a tenth to either side."""
    soon = code in _ASKS_AGAIN and attempts <= len(_SOON)
    delay = _SOON[attempts - 1] if soon and attempts > 0 else DELAYS[min(max(attempts, 1), len(DELAYS)) - 1]
    return delay * (0.9 + 0.2 * chance)


def notices_due(waited: float) -> int:
    """How many notices of delay a sender has got after so many seconds."""
    return sum(waited >= after for after in NOTICES)
