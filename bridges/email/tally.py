"""What became of the mails that came, in numbers: for the metrics. None is missing: what came in is ended, or waits."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from bridge_core.api.info import Figure


class Source(StrEnum):
    """From where a mail came into the spool, beside the doors (`Door`)."""

    RESTART = "restart"
    """It waited when the bridge was started."""
    ACCEPTED = "accepted"
    """It was held until somebody accepted who wrote it."""
    RETRIED = "retried"
    """It was in the quarantine."""
    COPY = "copy"
    """A part of it became something else than the rest, and is counted as a mail of its own."""


class Became(StrEnum):
    """What a mail became; of one for several mailboxes, the first of these that is true."""

    SHOWN = "shown"
    """Something in a room: a message, a change of one, a reaction, a receipt."""
    REPORT = "report"
    """The fate of a mail of ours."""
    HELD = "held"
    """It waits for somebody's word about who wrote it."""
    TWICE = "twice"
    """It was here already."""
    BLOCKED = "blocked"
    """Nothing: somebody blocked who wrote it."""
    QUARANTINED = "quarantined"
    """It is kept for the admin."""
    LEFT = "left"
    """Nothing yet: the network was stopped, and it comes again at the next start."""


class LetGo(StrEnum):
    """Why a mail is not kept any more that was held, or set aside: it was ended before, and is shown to nobody."""

    BLOCKED = "blocked"
    """Somebody blocked who wrote it."""
    EXPIRED = "expired"
    """Nobody said a word about who wrote it, for as long as that is waited for."""
    LOST = "lost"
    """Its bytes are gone."""
    DROPPED = "dropped"
    """The admin threw it away."""
    FULL = "full"
    """More was set aside than there is room for."""


_ORDER: Final = {became: number for number, became in enumerate(Became)}


def best(found: set[Became]) -> Became:
    """What a mail that became several things is counted as."""
    return min(found, key=_ORDER.__getitem__)


class Tally:
    """Of one network, since the bridge was started."""

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.ended: Counter[Became] = Counter()
        self.let_go: Counter[LetGo] = Counter()
        self.given_twice = 0

    def figures(self, waiting: int, quarantined: int, held: int) -> Iterator[Figure]:
        """All of it. `email_came` less `email_ended` is `email_waiting`, all values of each taken together."""
        yield Figure(
            "email_came",
            "Mails that were taken over, by the door or place they came from.",
            {(name,): count for name, count in self.came.items()},
            ("source",),
            counter=True,
        )
        yield Figure(
            "email_ended",
            "Mails that were taken over, by what became of them.",
            {(became.value,): self.ended[became] for became in Became},
            ("outcome",),
            counter=True,
        )
        yield Figure(
            "email_let_go",
            "Mails that were held or set aside and are gone, by why.",
            {(reason.value,): self.let_go[reason] for reason in LetGo},
            ("reason",),
            counter=True,
        )
        yield Figure("email_waiting", "Mails that were taken over and wait to be shown.", {(): waiting})
        kept: dict[tuple[str, ...], float] = {("quarantine",): quarantined, ("requests",): held}
        yield Figure("email_kept", "Mails that are kept until somebody decides, by where.", kept, ("where",))
