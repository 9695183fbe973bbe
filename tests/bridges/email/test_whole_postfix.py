"""A whole bridge behind a real Postfix: mail comes in by it and goes out by it."""

import smtplib
from asyncio import to_thread
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from bridges.email.demo.elsewhere import VERIFIER
from tests.bridges.email.post import BOX, Post
from tests.servers.postfix import Postfix


def _hand_over(port: int, sender: str, recipient: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = f"Bob <{sender}>", BOX, "Invoice", "<one@x.net>"
    mail["Authentication-Results"] = f"{VERIFIER}; dmarc=pass header.from=x.net"
    mail.set_content(f"Hello {recipient}\n")
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as server:
        server.send_message(mail, sender, [recipient])


@pytest.mark.server
@pytest.mark.parametrize("way", ["smtp", "lmtp"])
async def test_a_conversation_through_postfix(tmp_path: Path, way: str) -> None:
    """Postfix hands a mail over by SMTP or LMTP; the answer from Matrix goes by it as smarthost to the other side."""
    post = Post(tmp_path)
    network: dict[str, Any] = post.network
    network["receiving"]["doors"][0]["kind"] = way
    route = f"smtp:[127.0.0.1]:{post.port}" if way == "smtp" else f"lmtp:inet:127.0.0.1:{post.port}"
    relay = f"smtp:[127.0.0.1]:{post.elsewhere.port}"
    postfix = Postfix(tmp_path / "postfix", {"example.org": route}, default=relay)
    network["delivery"]["smarthosts"][0]["port"] = postfix.port
    try:
        await postfix.start()
        async with post:
            await to_thread(_hand_over, postfix.port, "bob@x.net", BOX)
            room = await post.room()
            event = await post.seen(room, f"Hello {BOX}")
            thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": event["event_id"]}}
            post.bridge.alice.send(room, "Hello Bob", **thread)
            mail = await post.elsewhere.wait_for(lambda one: "Hello Bob" in one.text, "the answer", 60)
            assert mail.recipients == ("bob@x.net",)
            assert mail.mail["In-Reply-To"] == "<one@x.net>"
    finally:
        await postfix.close()


async def test_postmaster_without_a_domain(tmp_path: Path) -> None:
    """`<postmaster>` is the first domain's, whatever the server is called (RFC 5321 section 4.5.1)."""
    async with Post(tmp_path) as post:
        await to_thread(_hand_over, post.port, "bob@x.net", "postmaster")
        await post.seen(await post.room(), "Hello postmaster")
