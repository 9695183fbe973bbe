"""Writing mails: what is said on Matrix is what a mail program reads, and no value leaves its header."""

import base64
import email
import email.message
import email.policy
import re
from dataclasses import replace
from typing import Any

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.content import (
    Attachment,
    Colored,
    Content,
    Kind,
    Location,
    MediaKind,
    Mention,
    Paragraph,
    Plain,
    Poll,
    PollAnswer,
    Span,
    Spoiler,
    Style,
)
from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridges.email.codec.addresses import Address
from bridges.email.codec.fields import FieldError, address_field, text_field, thread_of, word_field
from bridges.email.codec.flowed import flowed, quoted_printable, unflowed
from bridges.email.codec.tokens import Tokens
from bridges.email.composing.composer import MailComposer
from bridges.email.composing.signing import Key, read_key
from bridges.email.config.composing import Composing
from bridges.email.ports import Draft, OutgoingMail
from tests.bridges.email.mailing import BOB, NOW, SECRET, SUPPORT, MailHost, draft, person

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


class Desk:
    """A composer, and what it wrote."""

    def __init__(self, keys: dict[str, list[Key]] | None = None, **settings: Any) -> None:
        self.host = MailHost()
        host: Any = self.host
        self.composer = MailComposer(host, Tokens(SECRET), Composing(**settings), bridge="bridge.test", keys=keys or {})

    async def write(self, draft: Draft) -> tuple[OutgoingMail, bytes]:
        """The mail and all of its bytes."""
        mail = await self.composer.compose(draft)
        raw = mail.head + self.host.blobs.files[mail.blob]
        assert len(raw) == mail.size
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", raw)
        assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
        return mail, raw

    async def read(self, draft: Draft) -> email.message.EmailMessage:
        """The mail as a mail program reads it."""
        _, raw = await self.write(draft)
        read = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(read, email.message.EmailMessage)
        assert not read.defects
        return read


def body(read: email.message.EmailMessage, kind: str) -> str:
    """The text of a mail in one of its forms."""
    part = read.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


async def test_a_text_is_plain_and_html() -> None:
    """A mail says the same twice, from whom, to whom, about what, and when."""
    text = Paragraph((Span(Style.BOLD, (Plain("Hi"),)), Plain(" <Bob> & "), Mention("Carol", matrix=UserId("@c:hs"))))
    written = draft(content=Content((text,)), cc=(Address("eve", "there.test", "Ève"),), subject="Grüße")
    read = await Desk().read(written)
    assert read["From"] == '"Alice (Support)" <support@example.org>'
    assert (read["To"], read["Cc"], read["Subject"]) == ("Bob <bob@there.test>", "Ève <eve@there.test>", "Grüße")
    assert read["Date"].datetime.timestamp() * 1000 == NOW
    assert read.get_content_type() == "multipart/alternative"
    assert body(read, "plain") == "Hi <Bob> & @Carol\n"
    assert "<p><strong>Hi</strong> &lt;Bob&gt; &amp; @Carol</p>" in body(read, "html")


async def test_ids_are_opaque_and_thread() -> None:
    """The id is the same for the same key and known as ours; References begin with the root and stay short."""
    desk = Desk()
    long = "a" * 90 + "@outlook.test"
    references = ("root@x", *(f"{number}@x" for number in range(40)), long)
    mail, raw = await desk.write(draft(references=references, in_reply_to="parent@x"))
    again, _ = await desk.write(draft("other words"))
    assert (mail.message_id, mail.id) == (again.message_id, again.id)
    assert mail.message_id != (await desk.write(draft(key="other")))[0].message_id
    assert Tokens(SECRET).ours(mail.message_id)
    assert not Tokens(b"x" * 32).ours(mail.message_id)
    assert not Tokens(SECRET).ours(mail.message_id.replace("example.org", "evil.test"))
    assert len(mail.message_id) <= 60
    head = raw.partition(b"\r\n\r\n")[0].decode()
    found = re.search(r"^References:((?:[ \r\n]+<[^>]+>)+)", head, re.MULTILINE)
    assert found is not None
    ids = re.findall(r"<([^>]+)>", found[1])
    assert len(ids) <= 20
    assert ids[0] == "root@x"
    assert ids[-2:] == [long, "parent@x"]
    assert "\r\nIn-Reply-To: <parent@x>\r\n" in head
    assert mail.message_id not in ids


def test_what_is_too_long_is_cut_in_the_middle() -> None:
    """The root and the parent stay, whatever the rest is."""
    ids = thread_of(["root@x", *(f"{'y' * 300}{number}@x" for number in range(9))], "last@x")
    assert ids[0] == "root@x"
    assert ids[-1] == "last@x"
    assert sum(len(one) + 3 for one in ids) <= 998
    assert thread_of(["a b@x", "<x>", "e\r\nBcc: x"], "p@x") == ("p@x",)


async def test_files_go_along() -> None:
    """Pictures are shown in the text at their content ids, other files are attached, byte for byte."""
    desk = Desk()
    picture = desk.host.file("ß.png", b"\x89PNG" * 50, "image/png", MediaKind.IMAGE)
    table = desk.host.file("../a\u202eb\n.csv", bytes(range(256)) * 40, "text/csv; x=y")
    voice = desk.host.file("Voice message", b"Ogg", None, MediaKind.VOICE)
    odd = desk.host.file("x.eml", b"From: a", "message/rfc822")
    read = await desk.read(draft(content=Content((Plain("see"),), attachments=(picture, table, voice, odd))))
    assert read.get_content_type() == "multipart/mixed"
    related, *attached = read.iter_parts()
    assert related.get_content_type() == "multipart/related"
    text, image = related.iter_parts()
    assert text.get_content_type() == "multipart/alternative"
    assert f'src="cid:{image["Content-ID"].strip("<>")}"' in body(text, "html")
    assert (image.get_filename(), image.get_content_disposition()) == ("ß.png", "inline")
    assert image.get_content() == b"\x89PNG" * 50
    assert [(one.get_filename(), one.get_content_type()) for one in attached] == [
        ("_ab.csv", "text/csv"),
        ("Voice message.ogg", "audio/ogg"),
        ("x.eml", "application/octet-stream"),
    ]
    assert attached[0].get_payload(decode=True) == bytes(range(256)) * 40


async def test_a_name_in_any_language_is_kept() -> None:
    """A long name is written in pieces, with something readable for those who know only ASCII."""
    desk = Desk()
    name = f"{'Übersicht 漢字 ' * 9}'1'.pdf"
    _, raw = await desk.write(
        draft(content=Content((Plain("a"),), attachments=(desk.host.file(name, b"x", "application/pdf"),)))
    )
    (part,) = email.message_from_bytes(raw, policy=email.policy.default).iter_attachments()  # type: ignore[attr-defined]
    assert part.get_filename().endswith(".pdf")
    assert part.get_filename()[:100] == name[:100]
    assert b'filename="_bersicht' in raw


async def test_what_is_too_large_is_a_link() -> None:
    """A file for which the mail has no room is linked; without links the reader is told of it."""
    desk = Desk(max_size=100_000)
    small, large = desk.host.file("small", b"x" * 1000, None), desk.host.file("large", b"x" * 90_000, None)
    unsaid = replace(large, name="unsaid", size=None)
    read = await desk.read(draft(content=Content(attachments=(small, large, unsaid))))
    assert [one.get_filename() for one in read.iter_attachments()] == ["small"]
    assert "https://media.test/1" in body(read, "plain")
    assert '<a href="https://media.test/1">large</a>' in body(read, "html")
    desk.host.links = False
    read = await desk.read(draft(content=Content(attachments=(large,))))
    assert "[the file large is too large for a mail]" in body(read, "plain")


async def test_a_file_that_is_gone_is_no_mail() -> None:
    """Nothing is written where a file cannot be read: the sender is told, and no blob is left."""
    desk = Desk()
    with pytest.raises(RejectedError, match="gone"):
        await desk.write(draft(content=Content(attachments=(Attachment(MediaKind.FILE, "a", "mxc://x/y", size=3),))))
    assert desk.host.blobs.files == {}


async def test_what_mail_does_not_know_is_said_in_words() -> None:
    """Places, polls, emotes, spoilers and colours have a form that everybody can read."""
    desk = Desk()
    place = await desk.read(draft(content=Content(location=Location(1.5, -2.25, description="Here"))))
    assert "Here\ngeo:1.500000,-2.250000\nhttps://www.openstreetmap.org/?mlat=1.5" in body(place, "plain")
    poll = Poll("Tea?", (PollAnswer("a", "yes"), PollAnswer("b", "no")))
    assert "Tea?\n1. yes\n2. no" in body(await desk.read(draft(content=Content(poll=poll))), "plain")
    emote = Content((Plain("waves"),), Kind.EMOTE)
    assert "* Alice (Support) waves" in body(await desk.read(draft(content=emote)), "plain")
    hidden = Content((Spoiler("end", (Plain("he dies"),)), Colored("ff0000", None, (Plain("red"),))))
    read = await desk.read(draft(content=hidden))
    assert "(end) ||he dies||" in body(read, "plain")
    assert '<span style="color:#000000;background-color:#000000">he dies</span>' in body(read, "html")
    assert '<span style="color:#ff0000">red</span>' in body(read, "html")


async def test_an_answer_may_quote() -> None:
    """An excerpt of what is answered stands above the answer, as quotes do."""
    read = await Desk().read(draft("yes", quoted="Will you come?\nBob"))
    assert body(read, "plain") == "> Will you come?\n> Bob\nyes\n"
    assert "<blockquote>Will you come?<br>Bob</blockquote>yes" in body(read, "html")


async def test_amends_and_reactions_say_what_they_are() -> None:
    """A correction, a withdrawal and a reaction name their mail in the headers that programs know, and in words."""
    desk = Desk()
    edit = await desk.read(draft("new", edits="old@x", references=("root@x",)))
    assert (edit["Chat-Edit"], edit["In-Reply-To"], edit["Chat-Version"]) == ("<old@x>", "<old@x>", "1.0")
    assert body(edit, "plain") == "Correction: new\n"
    gone = await desk.read(draft("secret", redacts="old@x"))
    assert gone["Chat-Delete"] == "<old@x>"
    assert "secret" not in gone.as_string()
    reaction = await desk.read(draft(content=Content(), reacts="👍", in_reply_to="old@x", references=("root@x",)))
    assert (reaction["In-Reply-To"], reaction["References"]) == ("<old@x>", "<old@x>")
    plain, gmail, html = reaction.iter_parts()
    assert plain["Content-Disposition"] == "reaction"
    assert plain.get_content().strip() == "👍"
    assert gmail.get_content_type() == "text/vnd.google.email-reaction+json"
    assert '"emoji":"👍"' in gmail.get_content()
    assert "reacted with 👍" in html.get_content()


async def test_a_signature_is_known_for_one() -> None:
    """It stands below the text, behind the line that mail programs know; what a user writes never looks like it."""
    read = await Desk().read(draft("Hello\n-- \nBob", signature="Example <Ltd>\nBerlin"))
    assert body(read, "plain") == "Hello\n-\u200b-\nBob\n-- \nExample <Ltd>\nBerlin\n"
    assert '<div class="moz-signature">-- <br>Example &lt;Ltd&gt;<br>Berlin</div>' in body(read, "html")


async def test_automatic_mail_asks_for_no_answer() -> None:
    """What no person wrote has the null reverse-path and says so (RFC 3834); a list names itself."""
    desk = Desk()
    mail, raw = await desk.write(draft(automatic=True, list_id="team.example.org"))
    assert mail.sender is None
    for line in (
        b"Auto-Submitted: auto-generated",
        b"X-Auto-Response-Suppress: All",
        b"List-Id: <team.example.org>",
        b"List-Post: <mailto:support@example.org>",
        b"List-Unsubscribe: <mailto:support@example.org?subject=unsubscribe>",
        b"Precedence: list",
    ):
        assert b"\r\n" + line + b"\r\n" in raw
    person, raw = await desk.write(draft())
    assert person.sender == Address("support", "example.org")
    assert b"Auto-Submitted" not in raw


async def test_a_message_does_not_go_round_in_circles() -> None:
    """Each mail says over how many bridges it came, and one that came over too many is refused."""
    desk = Desk(max_hops=2)
    read = await desk.read(draft(hops=1))
    assert read["X-Matrix-Bridge"] == "bridge.test; hops=2"
    with pytest.raises(RejectedError, match="circles"):
        await desk.write(draft(hops=2))


async def test_addresses_beyond_ascii_ask_for_smtputf8() -> None:
    """A local part in UTF-8 needs SMTPUTF8; a domain never does."""
    desk = Desk()
    mail, raw = await desk.write(draft(to=(person("jürgen@bücher.test"),)))
    assert mail.utf8
    assert "jürgen@xn--bcher-kva.test".encode() in raw
    mail, raw = await desk.write(draft(to=(person("j@bücher.test"),)))
    assert not mail.utf8
    assert b"j@xn--bcher-kva.test" in raw


@pytest.mark.parametrize("evil", ["\r\nBcc: x@y.z", "\n\nbody", "a\rb", "a\x00b", "a\u2028b", "a\x85b"])
async def test_nothing_leaves_its_header(evil: str) -> None:
    """Control characters in names, subjects and files become blanks, and the serializer refuses them all the same."""
    desk = Desk()
    file = desk.host.file(f"f{evil}.txt", b"x", f"text/plain{evil}")
    written = draft(
        subject=f"s{evil}", author=SUPPORT.named(f"n{evil}"), to=(BOB.named(evil),), in_reply_to=f"i{evil}@x"
    )
    _, raw = await desk.write(replace(written, content=Content((Plain("t"),), attachments=(file,))))
    assert b"\r\nBcc:" not in raw
    for refused in (
        lambda: text_field("Subject", evil),
        lambda: word_field("X-A", evil),
        lambda: address_field("To", (BOB.named(evil),)),
        lambda: address_field("To", (Address(evil, "x.y"),)),
    ):
        with pytest.raises(FieldError):
            refused()


@given(TEXT, TEXT, TEXT)
async def test_any_text_is_read_as_it_was_written(text: str, subject: str, name: str) -> None:
    """Whatever a person writes, a mail program reads the same, but for blanks at the end of lines."""
    clean = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    desk = Desk(html="never")
    _, raw = await desk.write(draft(text, subject=subject, author=SUPPORT.named(name)))
    read = email.message_from_bytes(raw)
    payload = read.get_payload(decode=True)
    assert isinstance(payload, bytes)
    said = unflowed(payload.decode()).replace("\u200b", "")
    assert _lines(said) == _lines(clean.replace("\u200b", ""))


def _lines(text: str) -> list[str]:
    """Lines without the blanks that mail does not keep, and quotes in one form."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        marks = re.match(r"(?:> ?)*", line)
        assert marks is not None
        lines.append("> " * marks[0].count(">") + line[marks.end() :].strip(" "))
    return [line.strip(" ") for line in lines]


def test_no_line_of_text_is_a_signal() -> None:
    """No line begins with a dot or `From `, none is a signature's dashes, and none is over 76 bytes."""
    text = flowed("From here\n.\n-- \n--\n" + ("word " * 40) + "\n" + "é" * 300 + "\n" + ".x" * 99)
    lines = quoted_printable(text).split(b"\r\n")
    assert all(len(line) <= 76 for line in lines)
    assert not [line for line in lines if line.startswith((b".", b"From ")) or line in {b"--", b"-- ", b"--=20"}]


class _NaCl:
    """What dkimpy uses of PyNaCl, over the library that we have."""

    class encoding:
        Base64Encoder = None

    class exceptions:
        BadSignatureError = InvalidSignature
        ValueError = ValueError

    class signing:
        class VerifyKey:
            def __init__(self, key: bytes, encoder: None) -> None:
                self._key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

            def verify(self, message: bytes, signature: bytes) -> None:
                self._key.verify(signature, message)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_signatures_are_good(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of key sign so that another library finds the mail unchanged, and a changed one changed."""
    monkeypatch.setattr(dkim, "nacl", _NaCl, raising=False)
    private: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    public = private.public_key()
    if kind == "rsa":
        record = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        record = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    desk = Desk({"example.org": [read_key("example.org", "one", pem), read_key("example.org", "two", pem)]})
    file = desk.host.file("a.bin", bytes(range(256)) * 3000, None)
    text = "two  blanks \t\n\n\nword " * 300 + "\n\n\n"
    _, raw = await desk.write(draft(content=Content((Plain(text),), attachments=(file,)), references=("a@b", "c@d")))

    def dns(name: bytes, timeout: int = 5) -> bytes:
        assert name in {b"one._domainkey.example.org.", b"two._domainkey.example.org."}
        return f"v=DKIM1; k={kind}; p={base64.b64encode(record).decode()}".encode()

    assert raw.count(b"DKIM-Signature:") == 2
    checker = dkim.DKIM(raw)
    assert checker.verify(0, dns)
    assert checker.verify(1, dns)
    assert not dkim.verify(raw.replace(b"Subject: Hi", b"Subject: Ho"), dnsfunc=dns)
    assert not dkim.verify(b"From: evil@example.org\r\n" + raw, dnsfunc=dns)
    assert not dkim.verify(raw + b"more\r\n", dnsfunc=dns)
    plain, raw = await desk.write(draft("x\n\n\n   \n"))
    assert dkim.verify(raw, dnsfunc=dns)
    assert plain.head.count(b"DKIM-Signature") == 2
