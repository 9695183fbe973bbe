"""Leads conversations with our doors that nobody would lead: ``python -m tests.fuzz.smtp SECONDS [SEED]``.

Exit status 1 with the conversation when the doors break, answer with what is no answer, or keep what they did not say
they keep; the same seed gives the same conversations.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from structlog.testing import capture_logs

from bridges.email.mail import Door
from tests.bridges.email.smtp.rig import open_doors
from tests.bridges.email.smtp.test_fuzz import conversation, lead

_AT_A_TIME = 200
"""Conversations with one server; then another begins, so that what it keeps stays little."""


async def converse(kind: Door, chance: random.Random, until: float) -> tuple[int, str]:
    """How many conversations there were until a time of the clock, and what was wrong with the last, if anything."""
    with tempfile.TemporaryDirectory(prefix="fuzz-smtp-") as folder, capture_logs() as logs:
        settings = {"plain_passwords": True, "times": {"command": 5, "data": 5}}
        async with open_doors(Path(folder), kind, **settings) as stage:
            for count in range(_AT_A_TIME):
                if time.monotonic() > until:
                    return count, ""
                before = len(stage.mails)
                pieces = conversation(chance, kind)
                heard = await lead(stage, pieces, waits=chance.random() < 0.3)
                lines = heard.split("\r\n")
                bad = [line for line in lines[:-1] if not line[:3].isdigit() or line[3:4] not in (" ", "-")]
                said = len({line for line in lines if "accepted as" in line})
                worse = [log["event"] for log in logs if log["log_level"] in ("warning", "error")]
                if bad or worse or lines[-1] or said != len(stage.mails) - before:
                    return count, f"{kind}: {pieces!r}\nanswered: {heard!r}\nlogged: {worse}"
    return _AT_A_TIME, ""


def main(arguments: Sequence[str]) -> int:
    """Until the time is over, or something is wrong."""
    seconds = float(arguments[0])
    seed = arguments[1] if len(arguments) > 1 else str(time.time())
    chance, until, count = random.Random(seed), time.monotonic() + seconds, 0
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    while time.monotonic() < until:
        kind = chance.choice([Door.SMTP, Door.SUBMISSION, Door.LMTP])
        with asyncio.Runner(loop_factory=chance.choice(loops)) as runner:
            more, wrong = runner.run(converse(kind, chance, until))
        count += more
        if wrong:
            sys.stdout.write(f"seed {seed}, after {count}: {wrong}\n")
            return 1
    sys.stdout.write(f"{count} conversations, seed {seed}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
