"""What delivery has done since the bridge started, for the metrics and for whoever looks."""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge_core.api.info import Figure


@dataclass(slots=True)
class Counts:
    """Counted by the parts of delivery. One mail to three recipients counts three times."""

    queued: int = 0
    """Taken over from whoever wrote."""
    tries: int = 0
    sent: int = 0
    failed: int = 0
    suppressed: int = 0
    """Of those that failed: their address is on the list of those that nothing is sent to."""
    cancelled: int = 0
    deferred: int = 0
    """Tries after which another one is made later."""
    delayed: int = 0
    """Notices of delay that were told."""
    unknown: int = 0
    """Tries of which nobody knows whether they arrived; the mail was or will be sent again."""

    def figures(self) -> Iterator[Figure]:
        """As `ShowsFigures.figures`."""
        yield Figure(
            "email_outgoing",
            "Recipients of mails that were queued, and what became of them since the bridge started.",
            {
                ("queued",): self.queued,
                ("sent",): self.sent,
                ("failed",): self.failed,
                ("cancelled",): self.cancelled,
            },
            ("outcome",),
            counter=True,
        )
        yield Figure(
            "email_suppressed",
            "Recipients that failed untried, since a server said before that they do not exist.",
            {(): self.suppressed},
            counter=True,
        )
        yield Figure("email_tries", "Tries to hand a mail to a server.", {(): self.tries}, counter=True)
        yield Figure("email_deferred", "Tries after which another one is made.", {(): self.deferred}, counter=True)
        yield Figure("email_delay_notices", "Notices of delay told to writers.", {(): self.delayed}, counter=True)
        yield Figure(
            "email_doubtful_ends",
            "Tries whose end nobody knows (the answer to the last dot, or the bridge, was lost): such a mail is sent "
            "again, and may arrive twice.",
            {(): self.unknown},
            counter=True,
        )
