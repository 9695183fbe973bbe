"""What a network's connections did and do, in numbers: for its metrics. Plain additions, nothing per message."""

from collections import Counter
from collections.abc import Iterator

from bridge_core.api.info import Figure
from bridges.irc.endings import Cause


class Traffic:
    """Of the bot's connection, or of all users' connections together."""

    __slots__ = ("connected", "endings", "heard", "made", "said")

    def __init__(self) -> None:
        self.connected = 0
        self.made = 0
        self.heard = 0
        """Lines read, parsed or not."""
        self.said = 0
        """Lines written after registration."""
        self.endings: Counter[Cause] = Counter()


class Meter:
    """Of one network."""

    def __init__(self) -> None:
        self.bot = Traffic()
        self.users = Traffic()

    def figures(self) -> Iterator[Figure]:
        """All of it."""
        both = (("bot", self.bot), ("users", self.users))
        whose = ("whose",)
        yield Figure(
            "irc_connected", "Connections there are now.", {(name,): one.connected for name, one in both}, whose
        )
        yield Figure(
            "irc_connections",
            "Connections that were made, the first and all after it.",
            {(name,): one.made for name, one in both},
            whose,
            counter=True,
        )
        yield Figure(
            "irc_endings",
            "Connections that were refused or ended, by cause.",
            {(name, cause.value): count for name, one in both for cause, count in one.endings.items()},
            ("whose", "cause"),
            counter=True,
        )
        yield Figure(
            "irc_lines",
            "Lines read and written.",
            {
                (name, direction): count
                for name, one in both
                for direction, count in (("read", one.heard), ("written", one.said))
            },
            ("whose", "direction"),
            counter=True,
        )
