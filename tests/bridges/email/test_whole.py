"""An email network in a whole bridge: what comes by SMTP is in the rooms, and what is written there goes out."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from bridge_core.demo.ports import free_port
from bridges.email.connector import EmailConnector
from tests.harness import Harness

BOX = "support@example.org"


class Post:
    """A bridge with one email network, and somebody who sends it mails."""

    def __init__(self, folder: Path, **email: Any) -> None:
        self.port = free_port()
        self.network = {
            "type": "email",
            "hostname": "mail.example.org",
            "domains": ["example.org"],
            "mailboxes": {BOX: {"members": ["@alice:hs.test"]}},
            "provide": {"address": "{localpart}@example.org"},
            "receiving": {"doors": [{"kind": "smtp", "listen": f"127.0.0.1:{self.port}"}]},
            **email,
        }
        self.bridge = Harness(folder, {"mail": self.network}, {"email": EmailConnector})

    async def __aenter__(self) -> "Post":
        await self.bridge.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.bridge.__aexit__(*error)

    async def sends(self, text: str, *to: str, author: str = "bob@x.net", **headers: str) -> None:
        """A mail server hands over a mail."""
        mail = EmailMessage()
        mail["From"] = f"Bob <{author}>"
        mail["To"] = ", ".join(to or (BOX,))
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(text)

        def hand_over() -> None:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as server:
                server.send_message(mail, author, list(to or (BOX,)))

        await asyncio.to_thread(hand_over)

    async def room(self) -> str:
        """The mailbox's room, with alice in it."""
        engine = self.bridge.running.engine
        portal = engine.portals.get(next(iter(engine.portals.all())).__class__ and self._key())
        room = await self.bridge.until(lambda: (engine.portals.get(self._key()) or portal).rooms)
        self.bridge.alice.join(room[0])
        return str(room[0])

    def _key(self) -> Any:
        from bridge_core.api.ids import ChatId, NetworkId, PortalKey

        return PortalKey(NetworkId("mail"), ChatId(BOX))


@pytest.fixture(name="post")
async def _post(tmp_path: Path) -> AsyncIterator[Post]:
    async with Post(tmp_path) as post:
        yield post


async def test_a_mail_is_in_the_room_of_its_mailbox(post: Post) -> None:
    """Handed over by SMTP, said by the ghost of its author; its answer is in its thread."""
    await post.sends("Hello\n", Subject="The invoice", Message_ID="<one@x.net>")
    room = await post.room()
    event = await post.bridge.homeserver.wait_event(room, lambda e: "Hello" in e["content"].get("body", ""))
    assert event["sender"].startswith("@_mail_bob")
    assert "The invoice" in event["content"]["body"]
    await post.sends("Again\n", Subject="Re: The invoice", In_Reply_To="<one@x.net>", Message_ID="<two@x.net>")
    answer = await post.bridge.homeserver.wait_event(room, lambda e: "Again" in e["content"].get("body", ""))
    assert answer["content"]["m.relates_to"]["rel_type"] == "m.thread"
    assert answer["content"]["m.relates_to"]["event_id"] == event["event_id"]
