"""What the reader promises beside single odd mails."""

import base64
import datetime
from dataclasses import fields, replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.content import Link, Picture, Plain
from bridge_core.content import to_plain
from bridge_core.content.tree import nodes_of
from bridges.email.codec.addresses import Address
from bridges.email.mail import Mail
from bridges.email.parsing import charsets, form
from bridges.email.parsing.context import Context
from bridges.email.parsing.links import belongs
from bridges.email.parsing.names import person_name, shown_address
from bridges.email.parsing.smime import signed_content
from tests.bridges.email.parsing.mails import CONTEXT, mail, multi, multimail, nested, parsed, part, read, said

TOKEN = "k3j9x0q2m7v5b1n8"


@pytest.mark.parametrize("codec", sorted(set(charsets._BY_LETTERS.values())))
def test_every_codec_of_the_list_is_there(codec: str) -> None:
    """A label that is known leads to a codec that Python has, and that gives text."""
    assert isinstance(b"abc".decode(codec, "replace"), str)


@pytest.mark.parametrize(
    "label", ["rot13", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "zlib", "mbcs", "oem"]
)
def test_codecs_that_are_no_charsets_never_run(label: str) -> None:
    """What Python's registry holds beside charsets is no charset here."""
    assert charsets.codec_of(label) is None


def test_files_are_what_was_sent() -> None:
    """Sizes are those of the bytes, and the bytes come in the order of the files."""
    found = read(
        multimail(
            "mixed",
            part("Text."),
            part("YWJj", "application/pdf; name=a", "Content-Transfer-Encoding: base64"),
            part("a=3D", "application/pdf; name=b", "Content-Transfer-Encoding: quoted-printable"),
        )
    )
    assert [give() for give in found.files] == [b"abc", b"a="]
    assert [file.size for file in found.mail.files] == [3, 2]


def test_the_last_line_end_of_a_part_is_not_of_the_file() -> None:
    """The line end before a boundary belongs to the boundary (RFC 2046, 5.1.1)."""
    found = read(multimail("mixed", part("abc\n", "application/x-a; name=a"), part("", "application/x-a; name=b")))
    assert [give() for give in found.files] == [b"abc\r\n", b""]


@pytest.mark.parametrize("html", [False, True])
def test_our_own_tokens_are_not_shown(html: bool) -> None:
    """Who reads the room learns no reply address and no link of ours: not in text, link, subject or whole."""
    address, link = f"room+{TOKEN}@bridge.example", f"https://matrix.example/_bridge/mail/unsubscribe/{TOKEN}"
    body = f"Write to {address} or see {link}?a=b now.\n\n-- \n{address}"
    if html:
        body = f'<p>Write to <a href="mailto:{address}">{address}</a> or <a href="{link}">leave</a>.</p>'
        body += f"<p>-- <br>{address}</p>"
    data = mail(body, f"Content-Type: text/{'html' if html else 'plain'}\n").replace(
        b"A subject", f"Re {address}".encode()
    )
    found = parsed(data, domains=("bridge.example",), links=("https://matrix.example/_bridge/",))
    assert TOKEN not in repr(replace(found, to=()))
    assert "room+\u2026@bridge.example" in to_plain(found.text)
    assert TOKEN in repr(parsed(data, domains=("other.example",)))


def test_short_tags_and_other_domains_are_left() -> None:
    """A subaddress that people write themselves is no token."""
    assert "a+news@bridge.example" in said(mail("a+news@bridge.example"), domains=("bridge.example",))
    assert TOKEN in said(mail(f"a+{TOKEN}@example.org"), domains=("bridge.example",))


def test_nobody_is_notified_by_a_link() -> None:
    """A stranger's link to a Matrix user stays a link: it is no mention."""
    found = parsed(mail('<a href="https://matrix.to/#/@a:b.example">x</a>', "Content-Type: text/html\n"))
    assert [node.url for node in nodes_of(found.text) if isinstance(node, Link)] == ["https://matrix.to/#/@a:b.example"]


def test_pictures_name_files_only() -> None:
    """The only pictures in a text are the mail's own files, and each of them is marked as shown."""
    body = "<img src='cid:a'><img src='https://x.example/'><img src='file:7'><img src='mxc://x/y' alt=m>"
    image = part("iVBORw0KGgo=", "image/png", "Content-ID: <a>", "Content-Transfer-Encoding: base64")
    found = parsed(multimail("related", part(body, "text/html"), image))
    assert [node.source for node in nodes_of(found.text) if isinstance(node, Picture)] == ["cid:a"]
    assert [file.inline for file in found.files] == [True]


def test_inline_files_are_told_apart() -> None:
    """Each picture in the text leads to one inline file, whatever Content-IDs there are: the same twice, or none."""
    image = ("iVBORw0KGgo=", "image/png")
    body = part("<img src='cid:a'><img src='b.png'><img src='cid:c'>", "text/html")
    encoded = "Content-Transfer-Encoding: base64"
    found = parsed(
        multimail(
            "related",
            body,
            part(*image, "Content-ID: <a>", encoded),
            part(*image, "Content-ID: <a>", "Content-Location: b.png", encoded),
            part(*image, "Content-ID: <d>", "Content-Location: e.png", encoded),
        )
    )
    inline = [f"cid:{file.cid}" for file in found.files if file.inline]
    assert [node.source for node in nodes_of(found.text) if isinstance(node, Picture)] == inline
    assert len(set(inline)) == 2
    assert [file.inline for file in found.files] == [True, True, False]


def _signed(content: bytes, *, pieces: bool = False) -> bytes:
    """A mail within its signature, as mail programs make it; in pieces without lengths, as some do."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bob")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = dated.sign(key, hashes.SHA256())
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(certificate, key, hashes.SHA256())
    data = builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    if pieces:
        kind = bytes.fromhex("06092a864886f70d010701")
        octets = b"".join(
            b"\x04" + bytes([len(content[at : at + 50])]) + content[at : at + 50] for at in range(0, len(content), 50)
        )
        inner = b"\x30\x80" + kind + b"\xa0\x80\x24\x80" + octets + b"\0\0" * 3
        data = (
            b"\x30\x80"
            + bytes.fromhex("06092a864886f70d010702")
            + b"\xa0\x80\x30\x80\x02\x01\x01\x31\x00"
            + inner
            + b"\0\0" * 3
        )
    headers = "Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64\n"
    return mail(base64.encodebytes(data), headers)


@pytest.mark.parametrize("pieces", [False, True])
def test_a_mail_in_its_signature_is_read(pieces: bool) -> None:
    """What was signed is shown with its files, and it is said that nobody has checked the signature."""
    header, body = multi("mixed", part("Signed words."), part("x", "application/pdf; name=a.pdf"))
    found = parsed(_signed(header.encode() + b"\n" + body, pieces=pieces))
    assert to_plain(found.text) == "Signed words."
    assert [file.name for file in found.files] == ["a.pdf"]
    assert found.remarks == ("It is signed; the signature was not checked.",)


def test_signatures_in_signatures_end() -> None:
    """Of signatures within one another two are unpacked; the next is a file, and the mail is read."""
    data = b"Content-Type: text/plain\r\n\r\nDeep."
    for _ in range(4):
        data = _signed(data)
    found = parsed(data)
    assert [file.name for file in found.files] == ["smime.p7m"]
    assert "cannot be read here" in to_plain(found.text)


@given(st.binary(max_size=200))
def test_any_signature_is_read(data: bytes) -> None:
    """No bytes raise, and damage is no content."""
    signed_content(data)
    signed_content(bytes.fromhex("308006092a864886f70d010702a0803080") + data)


def test_trimming_is_a_setting_and_the_whole_is_kept() -> None:
    """Without trimming all is shown; with it, all is kept beside."""
    data = mail("New.\n\nOn Mon, 5 Jan 2026, Al wrote:\n> Old.\n\n-- \nBob")
    found = parsed(data)
    assert (to_plain(found.text), found.trimmed) == ("New.", True)
    assert "Old." in to_plain(found.quoting)
    assert "Bob" not in to_plain(found.quoting)
    assert "Bob" in found.whole
    assert "Old." in found.whole
    all_of_it = parsed(data, trim=False)
    assert (all_of_it.trimmed, all_of_it.whole, all_of_it.quoting) == (False, "", ())
    assert "Bob" in to_plain(all_of_it.text)


@pytest.mark.parametrize("prefix", ["Fwd: ", "FW: ", "WG: ", "TR : ", "RV: ", "转发：", "i: "])
def test_what_is_passed_on_is_shown(prefix: str) -> None:
    """A mail whose subject says that it passes another one on shows that one: only its signature is left out."""
    old = "________________________________\nFrom: A <a@example.org>\nSent: Monday\nTo: B\nSubject: s\n\nOld."
    data = mail(f"See below.\n\nSent from my phone\n\n{old}")
    assert said(data) == "See below."
    passed_on = parsed(data.replace(b"A subject", f"{prefix}A subject".encode()))
    assert "Old." in to_plain(passed_on.text)
    assert "my phone" not in to_plain(passed_on.text)
    assert (passed_on.trimmed, passed_on.quoting) == (True, ())


def test_made_ids_are_of_what_the_mail_says() -> None:
    """The same mail over another way has the same made id, another mail another one."""

    def made(data: bytes) -> str:
        found = parsed(data.replace(b"Message-ID: <1@example.org>\r\n", b""))
        assert found.made_id
        return found.id

    assert made(mail("x")) == made(b"Received: from elsewhere\r\n" + mail("x"))
    assert made(mail("x")) != made(mail("y"))
    assert made(mail("x")) != made(mail("x", sender="c@example.org"))


def test_limits_are_honest() -> None:
    """What is left out at a limit is said, and the rest is there."""
    deep = part("Deep.")
    for number in range(8):
        deep = nested("mixed", deep, boundary=f"n{number}")
    found = parsed(multimail("mixed", part("Text."), deep), depth=5)
    assert to_plain(found.text) == "Text."
    assert found.remarks
    assert [file.mime for file in found.files] == ["application/octet-stream"]
    few = parsed(multimail("mixed", *[part(f"{n}.") for n in range(9)]), parts=4)
    assert to_plain(few.text) == "0.\n\n1.\n\n2."
    assert few.remarks
    cut = read(mail("word " * 1000), text=1000)
    assert len(to_plain(cut.mail.text)) <= 1000
    assert cut.files[0]().startswith(b"word word")
    assert cut.mail.remarks
    wide = parsed(mail("<p>x</p>" * 500, "Content-Type: text/html\n"), nodes=100)
    assert to_plain(wide.text).startswith("x\n\nx")
    assert wide.remarks


def test_names_that_could_be_others_show_the_address() -> None:
    """A name that holds an address or letters of two scripts is not shown alone, a plain one is."""
    address = Address("x", "evil.example")
    assert person_name("CEO", address) == "CEO"
    assert person_name("ceo@corp.example", address) == "ceo@corp.example <x@evil.example>"
    assert person_name("C\u0415O", address).endswith("<x@evil.example>")
    assert person_name("\u0418\u0432\u0430\u043d Smith", address) == "\u0418\u0432\u0430\u043d Smith"
    assert shown_address(Address("x", "p\u0430ypal.example")) == "x@xn--pypal-4ve.example"
    assert shown_address(Address("x", "b\u00fccher.example")) == "x@b\u00fccher.example"


def test_a_host_belongs_to_itself_and_those_above() -> None:
    """`www.bank.example` is of `bank.example`; `bank.example.evil` and `evilbank.example` are not."""
    assert belongs("www.bank.example", "bank.example")
    assert not belongs("bank.example.evil", "bank.example")
    assert not belongs("evilbank.example", "bank.example")


def test_mails_cross_the_pipe_whole() -> None:
    """Every field of a mail comes out of the form as it went in; nothing else can be written or read."""
    found = parsed(
        multimail(
            "mixed",
            part(
                "<h1>a</h1><ul><li><b>b</b></ul><table border=1><tr><th>c<th>d<tr><td>1<td>2</table><pre>e</pre><hr>"
                "<blockquote>f</blockquote><a href='https://x.example'>g</a>",
                "text/html",
            ),
            part("x", "application/x-a; name=a"),
            headers="In-Reply-To: <0@x>\nReferences: <0@x>\nList-Id: <l.example>\n"
            "Date: Thu, 1 Jan 2015 00:00:00 +0000\n",
        )
    )
    assert form.load(form.dump(found)) == found
    assert form.load(form.dump(CONTEXT)) == CONTEXT
    assert {one.name for one in fields(Mail)} <= set(form.dump(found).decode().replace('"', " ").split())
    with pytest.raises(TypeError):
        form.dump(Exception("x"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[",
        b'{"":"Exception"}',
        b'{"":"Mail"}',
        b'{"":"Mail","x":1}',
        b"[" * 5000,
        b'{"":"Plain","text":{}}',
    ],
)
def test_what_is_no_mail_is_refused(data: bytes) -> None:
    """A process that says anything else is not believed."""
    with pytest.raises(ValueError, match=r".*"):
        form.load(data)


def test_all_that_a_mail_needs_is_bounded() -> None:
    """Whatever a mail says, its parts are no longer than they may be."""
    long = "x" * 100_000
    found = parsed(
        multimail(
            "mixed",
            part("x", f"application/x-a; name={long}", f"Content-ID: <{long}>"),
            headers=f"Subject: {long}\nList-Id: <{long}>\nReferences: <{long}@x>\nX-Matrix-Bridge: {long}\n",
            sender=f"{long} <a@example.org>",
        )
    )
    assert len(found.files[0].name) <= 120
    assert len(found.files[0].cid) <= 500
    assert len(found.authors[0].name) <= 100 if found.authors else True
    assert all(len(one) <= 600 for one in (found.subject, found.list_id, *found.references, *found.bridges))


def test_a_text_that_is_only_a_picture_is_not_without_text() -> None:
    """Where something is shown, nothing says that there is nothing."""
    body = part("<img src='cid:a'>", "text/html")
    image = part("iVBORw0KGgo=", "image/png", "Content-ID: <a>", "Content-Transfer-Encoding: base64")
    found = parsed(multimail("related", body, image))
    assert not any(isinstance(node, Plain) for node in nodes_of(found.text))


def test_a_context_has_limits_that_hold() -> None:
    """The defaults are those of the settings."""
    from bridges.email.config.parsing import Parsing
    from bridges.email.parsing.pool import Parser

    assert Parser(Parsing()).context() == Context()
