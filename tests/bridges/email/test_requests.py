"""Strangers who wait for somebody's word, as the members of a mailbox see them."""

from types import SimpleNamespace
from typing import Any

import pytest

from bridge_core.api.commands import CommandCall, CommandLevel
from bridge_core.api.errors import RejectedError
from bridges.email.codec.addresses import parse_address
from bridges.email.commands import MailCommands
from bridges.email.config.network import EmailConfig
from bridges.email.mail import Door, Envelope, Verdict
from bridges.email.mailboxes import Mailboxes
from bridges.email.requests import Requests
from tests.bridges.email.mailing import NOW, MailHost
from tests.bridges.email.office import ALICE, BOX, CONFIG, EVE


async def test_who_waits_is_listed_for_members() -> None:
    """Each person once, with how many mails, of that mailbox only; nobody else is told."""
    host: Any = MailHost()
    no_spool: Any = None
    requests = Requests(host, no_spool)

    async def raw() -> Any:
        yield b"Subject: x\r\n\r\n"

    for number, (box, who) in enumerate([(BOX, "bob"), (BOX, "bob"), (BOX, "zoe"), ("other@example.org", "ann")]):
        person = parse_address(f"{who}@x.net")
        blob = await host.blobs.put(raw(), 100)
        envelope = Envelope(f"e{number}", Door.SMTP, person, (parse_address(box),), "", "x", NOW, 14)
        assert await requests.hold(box, person, envelope, Verdict(), blob)
    running: Any = SimpleNamespace(mailboxes=Mailboxes(EmailConfig.model_validate(CONFIG)), requests=requests)
    command = next(one for one in MailCommands(lambda: running).commands() if one.name == "requests")
    said = await command.run(CommandCall(ALICE, CommandLevel.USER))
    assert said.splitlines() == ["bob@x.net: 2 mails", "zoe@x.net: 1 mail", "Say `accept ADDRESS` or `block ADDRESS`."]
    with pytest.raises(RejectedError):
        await command.run(CommandCall(EVE, CommandLevel.USER))
    for who in ("bob", "zoe"):
        await requests.drop(BOX, parse_address(f"{who}@x.net"))
    assert await command.run(CommandCall(ALICE, CommandLevel.USER)) == f"Nobody waits at {BOX}."
