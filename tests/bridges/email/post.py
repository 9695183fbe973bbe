"""An email network in a whole bridge, and the world around it: somebody who sends mails, somebody who gets them."""

import asyncio
import smtplib
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from bridge_core.api.ids import ChatId, NetworkId, PortalKey
from bridge_core.demo.ports import free_port
from bridges.email.connector import EmailConnector
from bridges.email.demo.elsewhere import BELIEVING, VERIFIER, Elsewhere, hand_over
from tests.harness import Harness

BOX = "support@example.org"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f80f00010501012718e3660000"
    "000049454e44ae426082"
)


class Post:
    """A bridge with one email network."""

    def __init__(self, folder: Path, **email: Any) -> None:
        self.port = free_port()
        self.elsewhere = Elsewhere(free_port())
        self.network = {
            "type": "email",
            "hostname": "mail.example.org",
            "domains": ["example.org"],
            "mailboxes": {BOX: {"members": ["@alice:hs.test"]}},
            "provide": {"address": "{localpart}@example.org"},
            "receiving": {"doors": [{"kind": "smtp", "listen": f"127.0.0.1:{self.port}"}]},
            "trust": BELIEVING,
            "delivery": {
                "hold": 0,
                "smarthosts": [{"host": "127.0.0.1", "port": self.elsewhere.port, "tls": "none"}],
            },
            **email,
        }
        self.bridge = Harness(folder, {"mail": self.network}, {"email": EmailConnector})

    async def restarts(self, **email: Any) -> None:
        """The bridge stops, its settings change, and it starts again."""
        await self.bridge.stop_bridge()
        self.bridge.networks = {"mail": {**self.network, **email}}
        await self.bridge.start_bridge()

    async def __aenter__(self) -> "Post":
        await self.elsewhere.start()
        await self.bridge.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.bridge.__aexit__(*error)
        await self.elsewhere.stop()

    async def sends(
        self, text: str, *to: str, author: str = "bob@x.net", verified: bool = True, **headers: str
    ) -> None:
        """A mail server hands over a mail."""
        mail = EmailMessage()
        mail["From"] = f"Bob <{author}>"
        mail["To"] = ", ".join(to or (BOX,))
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        if verified:
            mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from={author.rpartition('@')[2]}"
        mail.set_content(text)

        def hand_over() -> None:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as server:
                server.send_message(mail, author, list(to or (BOX,)))

        await asyncio.to_thread(hand_over)

    async def sends_html(self, html: str, pictures: dict[str, bytes], **headers: str) -> None:
        """A mail of HTML alone, with inline images by their Content-IDs."""
        mail = EmailMessage()
        mail["From"], mail["To"] = "Bob <bob@x.net>", BOX
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(html, subtype="html")
        for cid, data in pictures.items():
            mail.add_related(data, maintype="image", subtype="png", cid=f"<{cid}>", filename="logo.png")
        await hand_over(self.port, mail, "bob@x.net", BOX)

    async def room(self, chat: str = BOX) -> str:
        """The room of a chat, with alice in it."""
        portals = self.bridge.running.engine.portals
        key = PortalKey(NetworkId("mail"), ChatId(chat))

        def made() -> str | None:
            row = portals.get(key)
            return row.rooms[0] if row is not None and row.rooms else None

        room = str(await self.bridge.until(made))
        self.bridge.alice.join(room)
        return room

    async def seen(self, room: str, text: str) -> dict[str, Any]:
        """The event that says something."""
        found = await self.bridge.homeserver.wait_event(room, lambda e: text in e["content"].get("body", ""))
        assert isinstance(found, dict)
        return found
