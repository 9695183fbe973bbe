"""SIGKILL of a bridge with an email network at each durable step of both flows, and while the other side listens."""

from pathlib import Path

import pytest

from bridges.email.demo.elsewhere import Received
from tests.crash.mailrig import MailRig, episode, name_of, strike
from tests.crash.mailsides import SynapseSide
from tests.crash.site import Site

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]  # a mail that Postfix finds locked waits for a minute

INCOMING = [
    "mail.raw.before",
    "mail.raw.after",
    "mail.accepted.before",
    "mail.accepted.after",
    "mail.opened.before",
    "mail.opened.after",
    "mail.received.before",
    "mail.received.after",
    "mail.done.before",
    "mail.done.after",
    "mail.dropped.before",
    "mail.dropped.after",
]
OUTGOING = [
    "network.before_send",
    "mail.submitted.before",
    "mail.submitted.after",
    "mail.kept.before",
    "mail.kept.after",
    "network.after_send",
    "mail.tried.before",
    "mail.tried.after",
    "mail.ended.before",
    "mail.ended.after",
]


def _at(point: str) -> str:
    """The point with the time at which it kills: some mails are through, some are not."""
    return f"{point}:{4 if point in INCOMING else 1 if point.startswith('mail.tried') else 3}"


@pytest.mark.parametrize("point", INCOMING)
async def test_a_mail_that_comes_is_shown_once_whatever_point_the_bridge_dies_at(tmp_path: Path, point: str) -> None:
    """Taken over or given again: every mail and its file is in the room once."""
    async with MailRig(tmp_path) as rig:
        await episode(rig, [_at(point)])


@pytest.mark.parametrize("point", OUTGOING)
async def test_a_mail_that_goes_is_sent_once_whatever_point_the_bridge_dies_at(tmp_path: Path, point: str) -> None:
    """Every mail goes out; twice only where nobody knows how a try ended, and then that is said of it."""
    async with MailRig(tmp_path) as rig:
        await episode(rig, [_at(point)])


async def test_killed_while_it_dials(tmp_path: Path) -> None:
    """A try that came no further than the connection is made again, and nothing is sent twice."""

    def arm(rig: MailRig) -> None:
        rig.elsewhere.at_dial = rig.kill_now

    async with MailRig(tmp_path) as rig:
        await episode(rig, arm=arm)
        assert max(rig.copies().values()) == 1, "sent twice, and no dot was said"
        assert rig.doubts()


async def test_killed_before_it_hears_the_answer_to_the_final_dot(tmp_path: Path) -> None:
    """The other side has the mail and the bridge does not know: it comes again, the same, and that is counted."""
    unheard: list[Received] = []

    def arm(rig: MailRig) -> None:
        def second() -> None:
            if len(rig.elsewhere.received) >= 2:
                unheard.append(rig.elsewhere.received[-1])
                rig.kill_now()

        rig.elsewhere.ears.at_dot = second

    async with MailRig(tmp_path) as rig:
        await rig.open()
        await strike(rig, [""], arm)
        counted = await rig.metric("email_doubtful_ends")
        await rig.check()
        (one,) = unheard
        first, again = [other for other in rig.elsewhere.received if name_of(other) == name_of(one)]
        assert first.text == again.text
        assert rig.doubts()[name_of(one)] == 1
        assert counted == sum(rig.doubts().values())
        assert first.recipients == again.recipients


@pytest.mark.server
@pytest.mark.parametrize("half", ["first", "second"])
async def test_postfix_gives_again_what_a_killed_bridge_did_not_take(tmp_path: Path, half: str) -> None:
    """Killed at a point of the one flow, again at one of the other, and so on over all: none lost, none doubled."""
    points = [*zip(INCOMING, [*OUTGOING, *OUTGOING[:2]], strict=True)]
    async with MailRig(tmp_path, postfix=True) as rig:
        await rig.open()
        for one, other in points[:6] if half == "first" else points[6:]:
            await strike(rig, [_at(one), _at(other)])
        await rig.check()


@pytest.mark.server
async def test_kills_before_a_real_synapse(tmp_path: Path, site: Site) -> None:
    """The same between Postfix and Synapse: what was sent to the room before the kill is not there twice."""
    async with MailRig(tmp_path, SynapseSide(site), postfix=True) as rig:
        await rig.open()
        await strike(rig, ["mail.received.after:3", "mail.done.before:4"])
        await strike(rig, ["network.after_send:2", "mail.ended.before:2"])
        await rig.check()
