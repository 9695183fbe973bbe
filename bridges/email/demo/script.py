"""The conversation between a Matrix user and somebody with a mail address, and what each has to see."""

import smtplib
from email.message import EmailMessage
from typing import Any, Final

from bridge_core.api.demo import Crossing, DemoError, Event, Scene, Step, Way
from bridges.email.demo.elsewhere import Elsewhere, Received, hand_over

_WAIT: Final = 20.0
_FIRST: Final = "<first@elsewhere.test>"
_THUMB: Final = "\N{THUMBS UP SIGN}"
_PARTY: Final = "\N{PARTY POPPER}"
_PNG: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c020000000b4944415478da6364f80f00010501012718e3660000"
    "000049454e44ae426082"
)


class Conversation:
    """One run of the script. Later steps use what earlier ones sent."""

    def __init__(self, scene: Scene, elsewhere: Elsewhere, port: int, mailbox: str, bob: str) -> None:
        self._matrix = scene.matrix
        self._room = scene.room
        self._elsewhere = elsewhere
        self._port = port
        self._mailbox = mailbox
        self._bob = bob
        self._root = ""
        self._answer: Received | None = None

    def steps(self) -> list[Step]:
        """All steps, in order."""
        there, back = Way.TO_NETWORK, Way.TO_MATRIX
        return [
            Step("mail", back, self.mail),
            Step("formatted", back, self.formatted),
            Step("file", back, self.file),
            Step("answer", there, self.answer),
            Step("answer", back, self.answered),
            Step("reaction", back, self.reaction),
            Step("reaction", there, self.reaction_there),
            Step("formatted", there, self.formatted_there),
            Step("file", there, self.file_there),
            Step("new_mail", there, self.new_mail),
            Step("edit", there, self.edit),
            Step("redaction", there, self.redaction),
            Step("refused", there, self.refused),
            Step("unknown_address", back, self.unknown_address),
        ]

    # Mail -> Matrix

    async def mail(self) -> Crossing:
        """A first mail begins a conversation, under its subject."""
        said = "Hello Matrix, this is a mail."
        await self._send(said, message_id=_FIRST, subject="A question")
        event = await self._seen(said)
        self._root = event["event_id"]
        body = str(event["content"]["body"])
        assert "A question" in body, f"the subject is missing: {body!r}"
        return Crossing(said, body)

    async def formatted(self) -> Crossing:
        """HTML stays formatted, and nothing but formatting stays of it."""
        mail = self._mail("In bold.", in_reply_to=_FIRST)
        mail.add_alternative(
            '<p>In <b>bold</b>.<script>alert(1)</script><img src="https://evil.test/x.png"></p>', subtype="html"
        )
        await hand_over(self._port, mail, self._bob, self._mailbox)
        event = await self._seen("In bold.")
        html = str(event["content"].get("formatted_body", ""))
        assert "<strong>bold</strong>" in html or "<b>bold</b>" in html, f"not bold: {html!r}"
        assert "script" not in html and "evil.test/x.png" not in html, f"not cleaned: {html!r}"
        return Crossing("In <b>bold</b>.", html)

    async def file(self) -> Crossing:
        """A file comes with it, whole."""
        mail = self._mail("With a file.", in_reply_to=_FIRST)
        mail.add_attachment(_PNG, maintype="image", subtype="png", filename="dot.png")
        await hand_over(self._port, mail, self._bob, self._mailbox)
        event = await self._matrix.wait_for(lambda e: bool(e["content"].get("url")), _WAIT, "the file")
        data = await self._matrix.download(event["content"]["url"])
        assert data == _PNG, f"{len(data)} bytes came, not {len(_PNG)}"
        return Crossing("dot.png", f"{event['content'].get('filename') or event['content']['body']}, {len(data)} bytes")

    async def answered(self) -> Crossing:
        """What bob answers to alice's mail is in the same thread, however his program names what it answers."""
        assert self._answer is not None, "there is nothing to answer"
        said = "Thank you, Matrix."
        await self._send(said, in_reply_to=str(self._answer.mail["Message-ID"]), subject="Re: A question")
        event = await self._seen(said)
        relation = event["content"].get("m.relates_to", {})
        assert relation.get("event_id") == self._root, f"not in the thread: {relation}"
        return Crossing(said, str(event["content"]["body"]))

    async def reaction(self) -> Crossing:
        """A mail that is a reaction (RFC 9078) is one in the room."""
        assert self._answer is not None, "there is nothing to react to"
        mail = self._mail(_THUMB, in_reply_to=str(self._answer.mail["Message-ID"]))
        mail["Content-Disposition"] = "reaction"
        await hand_over(self._port, mail, self._bob, self._mailbox)
        event = await self._matrix.wait_for(
            lambda e: e["type"] == "m.reaction" and e["sender"] != self._matrix.user_id, _WAIT, "the reaction"
        )
        key = str(event["content"]["m.relates_to"]["key"])
        assert key == _THUMB, f"it is {key!r}"
        return Crossing(_THUMB, key)

    async def unknown_address(self) -> Crossing:
        """Mail for an address that is not there is refused before it is taken."""
        mail = self._mail("To nobody.")
        try:
            await hand_over(self._port, mail, self._bob, "nobody@bridge.test")
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            assert code == 550, f"refused with {code}"
            return Crossing("a mail to nobody@bridge.test", f"{code} {text.decode(errors='replace')}")
        raise DemoError("it was taken")

    # Matrix -> mail

    async def answer(self) -> Crossing:
        """What is said in the thread goes to who wrote, as an answer to what they wrote."""
        said = "Hello Bob, this is Matrix."
        await self._say(said)
        self._answer = received = await self._came(said)
        assert received.recipients == (self._bob,), f"to {received.recipients}"
        assert str(received.mail["In-Reply-To"]) == _FIRST, f"it answers {received.mail['In-Reply-To']!r}"
        assert str(received.mail["Subject"]) == "Re: A question", f"subject {received.mail['Subject']!r}"
        return Crossing(said, received.text)

    async def reaction_there(self) -> Crossing:
        """A reaction goes to who is known to see them, as such a mail."""
        await self._matrix.react(self._room, self._root, _PARTY)
        received = await self._elsewhere.wait_for(
            lambda one: any(part.get_content_disposition() == "reaction" for part in one.mail.walk()),
            "the reaction",
        )
        part = next(part for part in received.mail.walk() if part.get_content_disposition() == "reaction")
        key = str(part.get_content()).strip()
        assert key == _PARTY, f"it is {key!r}"
        return Crossing(_PARTY, key)

    async def formatted_there(self) -> Crossing:
        """Formatting goes as HTML beside plain text."""
        await self._say("a bold word", html="a <strong>bold</strong> word")
        received = await self._came("bold word")
        part = received.mail.get_body(("html",))
        html = str(part.get_content()) if part is not None else ""
        assert "<strong>bold</strong>" in html or "<b>bold</b>" in html, f"not bold: {html!r}"
        return Crossing("a <strong>bold</strong> word", received.text)

    async def file_there(self) -> Crossing:
        """A file goes with the mail, whole."""
        url = await self._matrix.upload(_PNG, "image/png", "dot.png")
        content = {"msgtype": "m.image", "body": "dot.png", "url": url, "info": {"mimetype": "image/png"}}
        await self._matrix.send(self._room, {**content, **self._relation()})
        received = await self._elsewhere.wait_for(lambda one: list(one.mail.iter_attachments()) != [], "the file")
        part = next(iter(received.mail.iter_attachments()))
        assert part.get_content() == _PNG, "the file is another one"
        return Crossing("dot.png", f"{part.get_filename()}, {len(_PNG)} bytes")

    async def new_mail(self) -> Crossing:
        """A mail to somebody new begins with whom it is for."""
        said = "A new conversation."
        await self._matrix.send_text(self._room, f"To: carol@elsewhere.test\nSubject: News\n\n{said}")
        received = await self._came(said)
        assert received.recipients == ("carol@elsewhere.test",), f"to {received.recipients}"
        assert str(received.mail["Subject"]) == "News", f"subject {received.mail['Subject']!r}"
        return Crossing(said, received.text)

    async def edit(self) -> Crossing:
        """What is corrected before it is sent, goes out once, corrected."""
        event = await self._say("A mistaek.")
        await self._matrix.edit(self._room, event, "A mistake, mended.")
        received = await self._came("A mistake, mended.")
        count = sum("mistaek" in one.text for one in self._elsewhere.received)
        assert count == 0, "the mistake went out as well"
        return Crossing("A mistaek. -> A mistake, mended.", received.text)

    async def redaction(self) -> Crossing:
        """What is taken back before it is sent, never goes out."""
        event = await self._say("Never mind.")
        await self._matrix.redact(self._room, event)
        await self._say("After that.")
        received = await self._came("After that.")
        assert not any("Never mind" in one.text for one in self._elsewhere.received), "it went out"
        return Crossing("Never mind. (taken back)", received.text)

    async def refused(self) -> Crossing:
        """What the other server refuses is told to its sender, in its words."""
        await self._matrix.send_text(self._room, "To: nobody@elsewhere.test\nSubject: Hello\n\nAre you there?")
        event = await self._matrix.wait_for(
            lambda e: "nobody of that name here" in str(e["content"]), _WAIT, "the refusal"
        )
        return Crossing("a mail to nobody@elsewhere.test", str(event["content"].get("body") or event["content"]))

    # Both

    def _mail(self, text: str, *, message_id: str = "", subject: str = "", in_reply_to: str = "") -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = f"Bob <{self._bob}>"
        mail["To"] = self._mailbox
        mail["Subject"] = subject or "Re: A question"
        if message_id:
            mail["Message-ID"] = message_id
        if in_reply_to:
            mail["In-Reply-To"] = in_reply_to
        mail.set_content(f"{text}\n")
        return mail

    async def _send(self, text: str, **fields: str) -> None:
        await hand_over(self._port, self._mail(text, **fields), self._bob, self._mailbox)

    async def _seen(self, text: str) -> Event:
        return await self._matrix.wait_for(lambda e: text in str(e["content"].get("body", "")), _WAIT, repr(text))

    def _relation(self) -> dict[str, Any]:
        return {"m.relates_to": {"rel_type": "m.thread", "event_id": self._root}}

    async def _say(self, text: str, html: str = "") -> str:
        """Say it in the thread; the event's id."""
        content: dict[str, Any] = {"msgtype": "m.text", "body": text, **self._relation()}
        if html:
            content |= {"format": "org.matrix.custom.html", "formatted_body": html}
        return await self._matrix.send(self._room, content)

    async def _came(self, text: str) -> Received:
        return await self._elsewhere.wait_for(lambda one: text in one.text, repr(text))
