"""Odd parts and files."""

import base64
import quopri

from bridge_core.api.content import Picture
from bridge_core.content.tree import nodes_of
from bridges.email.mail import Mail
from tests.bridges.email.parsing.case import Case, files, names, text
from tests.bridges.email.parsing.mails import lf, mail, multimail, nested, part

PNG = b"\x89PNG\r\n\x1a\n0000"
PDF = "%PDF-1.4 x"
ATTACHED = "Content-Disposition: attachment"
PLAIN, HTML = part("Plain words."), part("<p>Rich <b>words</b>.</p>", "text/html; charset=utf-8")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _image(*headers: str, kind: str = "image/png", data: bytes = PNG) -> bytes:
    return part(_b64(data), kind, "Content-Transfer-Encoding: base64", *headers)


def _named(header: str, kind: str = "application/pdf") -> bytes:
    return multimail("mixed", PLAIN, part(PDF, kind, *header.split("|")))


def _cte(encoding: str, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    return mail(body, f"Content-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n")


def _typed(kind: str, body: str | bytes = "Hello.") -> bytes:
    return mail(body, f"Content-Type: {kind}\n")


def _remarks(mail: Mail) -> object:
    return bool(mail.remarks)


def _shape(mail: Mail) -> object:
    return text(mail), names(mail)


def _inline(mail: Mail) -> object:
    return text(mail), [(file.name, file.inline) for file in mail.files]


_NAMES: list[tuple[str, str, str]] = [
    ("in the disposition", f"{ATTACHED}; filename=a.pdf", "a.pdf"),
    ("quoted", f'{ATTACHED}; filename="a b.pdf"', "a b.pdf"),
    ("with a quote that does not end", f'{ATTACHED}; filename="a b.pdf', "a b.pdf"),
    ("unquoted with a space", f"{ATTACHED}; filename=a b.pdf", "a b.pdf"),
    ("with an apostrophe", f'{ATTACHED}; filename="Bob\'s.pdf"', "Bob's.pdf"),
    ("with an escaped quote", f'{ATTACHED}; filename="a\\"b.pdf"', "a_b.pdf"),
    ("with a Windows path", f'{ATTACHED}; filename="C:\\docs\\a.pdf"', "a.pdf"),
    ("with a path upwards", f'{ATTACHED}; filename="../../etc/passwd"', "passwd"),
    ("with dots only", f'{ATTACHED}; filename=".."', "file.pdf"),
    ("with a device of Windows", f"{ATTACHED}; filename=CON.pdf", "_CON.pdf"),
    ("of RFC 2231", f"{ATTACHED}; filename*=utf-8''%E2%82%AC.pdf", "€.pdf"),
    ("of RFC 2231 with a language", f"{ATTACHED}; filename*=iso-8859-1'de'%FC.pdf", "ü.pdf"),
    ("of RFC 2231 in pieces", f"{ATTACHED}; filename*0=a; filename*1=b.pdf", "ab.pdf"),
    (
        "of RFC 2231 in encoded pieces",
        f"{ATTACHED}; filename*0*=utf-8''%E2%82; filename*1*=%AC; filename*2=.pdf",
        "€.pdf",
    ),
    ("of RFC 2231 in pieces out of order", f"{ATTACHED}; filename*1=b.pdf; filename*0=a", "ab.pdf"),
    ("of RFC 2231 without quotes (crashes parsers)", f"{ATTACHED}; filename*=%E2%82%AC.pdf", "€.pdf"),
    ("of RFC 2231 with an unknown charset", f"{ATTACHED}; filename*=x-no''%E2%82%AC.pdf", "€.pdf"),
    ("of RFC 2231 and plain: the first is better", f"{ATTACHED}; filename=x.pdf; filename*=utf-8''%C3%A4.pdf", "ä.pdf"),
    ("with a star and nothing (crashes CPython)", f"{ATTACHED}; filename*", "file.pdf"),
    ("in an encoded word", f"{ATTACHED}; filename==?utf-8?q?=C3=A4.pdf?=", "ä.pdf"),
    ("in a quoted encoded word", f'{ATTACHED}; filename="=?utf-8?b?w6QucGRm?="', "ä.pdf"),
    ("in raw UTF-8", f'{ATTACHED}; filename="ä.pdf"', "ä.pdf"),
    ("in the type only", "X-A: b", "file.pdf"),
    ("with turning characters", f"{ATTACHED}; filename*=utf-8''a%E2%80%AEfdp.exe", "afdp.exe"),
    ("with invisible characters", f"{ATTACHED}; filename*=utf-8''a%E2%80%8B.pdf", "a.pdf"),
    ("with line ends", f"{ATTACHED}; filename*=utf-8''a%0D%0Ab.pdf", "ab.pdf"),
    ("with NUL", f"{ATTACHED}; filename*=utf-8''a%00.pdf", "a.pdf"),
    ("with characters that files may not have", f'{ATTACHED}; filename="a:b*c?.pdf"', "a_b_c_.pdf"),
    ("of 5,000 characters", f'{ATTACHED}; filename="{"x" * 5000}.pdf"', "x" * 107 + ".pdf"),
    ("of 300 characters", f'{ATTACHED}; filename="{"x" * 300}.pdf"', "x" * 107 + ".pdf"),
    ("given twice", f"{ATTACHED}; filename=a.pdf; filename=b.pdf", "a.pdf"),
    ("with a semicolon in quotes", f'{ATTACHED}; filename="a;b.pdf"', "a;b.pdf"),
    ("with an equals sign", f"{ATTACHED}; filename=a=b.pdf", "a=b.pdf"),
    ("with blanks around it", f"{ATTACHED} ;  filename = a.pdf ", "a.pdf"),
    ("empty", f'{ATTACHED}; filename=""', "file.pdf"),
    ("over lines", f"{ATTACHED};\n filename=a.pdf", "a.pdf"),
]

_CHARSETS: list[tuple[str, str, str]] = [
    ("utf-8", "utf-8", "Grüße €"),
    ("UTF8", "utf-8", "Grüße €"),
    ("utf8mb4", "utf-8", "Grüße €"),
    ("unicode-1-1-utf-8", "utf-8", "Grüße €"),
    ('"utf-8"', "utf-8", "Grüße €"),
    ("utf-8; charset=latin1", "utf-8", "Grüße €"),
    ("us-ascii", "utf-8", "Grüße €"),
    ("us-ascii", "cp1252", "Grüße €"),
    ("iso-8859-1", "cp1252", "Grüße €"),
    ("iso-8859-1", "utf-8", "Grüße €"),
    ("windows-1252", "cp1252", "Grüße €"),
    ("cp-1252", "cp1252", "Grüße €"),
    ("iso-8859-15", "iso8859-15", "Grüße €"),
    ("iso-8859-2", "iso8859-2", "Zażółć gęślą"),
    ("windows-1250", "cp1250", "Zażółć gęślą"),
    ("windows-1251", "cp1251", "Привет"),
    ("koi8-r", "koi8-r", "Привет"),
    ("koi8-u", "koi8-u", "Їжак"),
    ("iso-8859-5", "iso8859-5", "Привет"),
    ("x-mac-cyrillic", "mac-cyrillic", "Привет"),
    ("cp866", "cp866", "Привет"),
    ("ibm866", "cp866", "Привет"),
    ("iso-8859-7", "iso8859-7", "Γειά"),
    ("windows-1253", "cp1253", "Γειά"),
    ("iso-8859-8-i", "iso8859-8", "שלום"),
    ("windows-1255", "cp1255", "שלום"),
    ("windows-1256", "cp1256", "سلام"),
    ("iso-8859-9", "cp1254", "İstanbul"),
    ("tis-620", "cp874", "สวัสดี"),
    ("windows-874", "cp874", "สวัสดี"),
    ("iso-8859-11", "cp874", "สวัสดี"),
    ("windows-1258", "cp1258", "Đà"),
    ("gb2312", "gb18030", "你好镕"),
    ("gbk", "gb18030", "你好"),
    ("gb18030", "gb18030", "你好"),
    ("hz-gb-2312", "hz", "你好"),
    ("big5", "big5hkscs", "你好"),
    ("shift_jis", "cp932", "日本語①"),
    ("x-sjis", "cp932", "日本語①"),
    ("euc-jp", "euc_jp", "日本語"),
    ("iso-2022-jp", "iso2022_jp_ext", "日本語"),
    ("us-ascii", "iso2022_jp", "日本語"),
    ("ks_c_5601-1987", "cp949", "한국어"),
    ("euc-kr", "cp949", "한국어"),
    ("iso-2022-kr", "iso2022_kr", "한국어"),
    ("utf-16", "utf-16", "Grüße"),
    ("utf-16le", "utf-16-le", "Grüße"),
    ("utf-7", "utf-7", "Grüße"),
    ("unicode-1-1-utf-7", "utf-7", "Grüße"),
    ("macintosh", "mac-roman", "Grüße"),
    ("cp-850", "cp850", "Grüße"),
    ("ansi_x3.110-1983", "cp1252", "Grüße"),
    ("default", "utf-8", "Grüße"),
    ("x-unknown", "cp1252", "Grüße aus München, schöne Überraschung für Jörg"),
    ("", "cp1251", "Привет, как твои дела сегодня? Всё хорошо."),
    ("rot13", "utf-8", "Grüße"),
    ("idna", "utf-8", "Grüße"),
    ("../../etc/passwd", "utf-8", "Grüße"),
    ("x" * 500, "utf-8", "Grüße"),
    ("utf-8", "utf-8-sig", "Grüße"),
]

CASES = [
    *(Case(f"file name: {odd}", _named(header), names, [want]) for odd, header, want in _NAMES),
    *(
        Case(
            f"charset {label[:20]!r} that is {codec}, in {cte}",
            _cte(cte, coder(words.encode(codec)), f"text/plain; charset={label}"),
            text,
            words,
        )
        for label, codec, words in _CHARSETS
        for cte, coder in (("base64", base64.encodebytes),)
    ),
    *(
        Case(
            f"charset {label} in quoted-printable",
            _cte("quoted-printable", quopri.encodestring("Grüße".encode(label)), f"text/plain; charset={label}"),
            text,
            "Grüße",
        )
        for label in ("utf-8", "iso-8859-1", "windows-1252", "iso-8859-15", "cp850")
    ),
    # transfer encodings
    Case("base64 with junk", _cte("base64", "SGVs\n*&^bG8u\n"), text, "Hello."),
    Case("base64 without padding", _cte("base64", "SGVsbG8uIQ"), text, "Hello.!"),
    Case("base64 of impossible length", _cte("base64", "SGVsbG8uI"), text, "Hello."),
    Case("base64 with padding in the middle", _cte("base64", "SGk=\nSGVsbG8u"), text, "HiHello."),
    Case("base64 in one long line", _cte("base64", _b64(b"x" * 60_000)), lambda m: len(text(m)), 60_000),
    Case("base64 in upper case", _cte("BASE64", "SGVsbG8u"), text, "Hello."),
    Case("base64 with a comment", _cte("base64 (of course)", "SGVsbG8u"), text, "Hello."),
    Case("base64 with a footer in plain words", _cte("base64", "SGVsbG8u\n\n"), text, "Hello."),
    Case("quoted-printable with soft breaks", _cte("quoted-printable", "Hel=\nlo."), text, "Hello."),
    Case("quoted-printable with broken escapes", _cte("quoted-printable", "a=ZZ 50% = b"), text, "a=ZZ 50% = b"),
    Case("quoted-printable with lower-case escapes", _cte("quoted-printable", "=c3=a4"), text, "ä"),
    Case("quoted-printable that ends in a soft break", _cte("quoted-printable", "Hello.="), text, "Hello."),
    Case("an unknown encoding", _cte("x-nothing", "Hello."), text, "Hello."),
    Case("an encoding with quotes", _cte('"base64"', "SGVsbG8u"), text, "Hello."),
    Case("8bit without a charset", mail("Grüße."), text, "Grüße."),
    Case("uuencode as encoding", _cte("x-uuencode", "begin 644 a\n&2&5L;&\\N\n`\nend\n"), text, "Hello."),
    Case(
        "uuencode in the text",
        mail("See:\nbegin 644 a.txt\n&2&5L;&\\N\n`\nend\nBye."),
        _shape,
        ("See:\n\nBye.", ["a.txt"]),
    ),
    Case(
        "a line that looks like uuencode",
        mail("begin 644 words\nof a sentence"),
        _shape,
        ("begin 644 words\nof a sentence", []),
    ),
    # types
    Case("no type", mail(), text, "Hello."),
    Case("a type that is none", _typed("text"), text, "Hello."),
    Case("an empty type", _typed(""), text, "Hello."),
    Case("a type of junk", _typed("???;;;=;"), files, [("file", "application/octet-stream")]),
    Case("a type with a star parameter (crashes CPython)", _typed("text/plain; name*"), text, "Hello."),
    Case("a type with a star and a number", _typed("text/plain; name*0; name*x*=a"), text, "Hello."),
    Case(
        "two types: the first counts",
        mail("<p>x</p>", "Content-Type: text/plain\nContent-Type: text/html\n"),
        text,
        "<p>x</p>",
    ),
    Case("text of an unknown kind", _typed("text/x-notes"), text, "Hello."),
    Case("text that is a file by its name", _typed("text/x-patch; name=a.diff"), names, ["a.diff"]),
    Case("markdown", _typed("text/markdown"), text, "Hello."),
    Case("rich text of Word", _typed("text/rtf", "{\\rtf1 x}"), files, [("file.rtf", "text/rtf")]),
    Case(
        "a mail that is an image",
        mail(_b64(PNG), "Content-Type: image/png\nContent-Transfer-Encoding: base64\n"),
        files,
        [("file.png", "image/png")],
    ),
    Case("a mail that is a PDF", _typed("application/pdf; name=a.pdf", PDF), files, [("a.pdf", "application/pdf")]),
    Case("an unknown top type", _typed("chemical/x-pdb; name=a.pdb"), files, [("a.pdb", "chemical/x-pdb")]),
    Case(
        "an image called octet-stream",
        multimail("mixed", PLAIN, _image(kind="application/octet-stream; name=a.png")),
        files,
        [("a.png", "image/png")],
    ),
    Case(
        "a PNG called JPEG",
        multimail("mixed", PLAIN, _image(kind="image/jpeg; name=a.jpg")),
        files,
        [("a.jpg", "image/png")],
    ),
    Case(
        "HTML called an image",
        multimail("mixed", PLAIN, part("<script>", "image/png; name=a.png")),
        files,
        [("a.png", "application/octet-stream")],
    ),
    Case(
        "an SVG",
        multimail("mixed", PLAIN, part("<svg/>", "image/svg+xml; name=a.svg")),
        files,
        [("a.svg", "application/octet-stream")],
    ),
    Case(
        "a DOCX called octet-stream",
        multimail("mixed", PLAIN, part("PK\x03\x04", "application/octet-stream; name=a.docx", ATTACHED)),
        lambda m: m.files[0].mime.endswith("wordprocessingml.document"),
        True,
    ),
    Case(
        "a ZIP called an image",
        multimail("mixed", PLAIN, part("PK\x03\x04", "image/png; name=a.png", ATTACHED)),
        files,
        [("a.png", "application/zip")],
    ),
    Case(
        "an empty file",
        multimail("mixed", PLAIN, part("", "application/pdf; name=a.pdf")),
        lambda m: (names(m), m.files[0].size),
        (["a.pdf"], 0),
    ),
    Case("a file without anything", multimail("mixed", PLAIN, b""), _shape, ("Plain words.", [])),
    # multiparts
    Case("alternative: HTML is taken", multimail("alternative", PLAIN, HTML), text, "Rich words."),
    Case("alternative: HTML first", multimail("alternative", HTML, PLAIN), text, "Rich words."),
    Case("alternative: plain only", multimail("alternative", PLAIN), text, "Plain words."),
    Case(
        "alternative: HTML that says nothing",
        multimail("alternative", PLAIN, part("<html><body></body></html>", "text/html")),
        text,
        "Plain words.",
    ),
    Case(
        "alternative: HTML that is only hidden",
        multimail("alternative", PLAIN, part("<p style='display:none'>x</p>", "text/html")),
        text,
        "Plain words.",
    ),
    Case(
        "alternative: with AMP",
        multimail("alternative", PLAIN, part("<html amp4email>", "text/x-amp-html"), HTML),
        _shape,
        ("Rich words.", []),
    ),
    Case(
        "alternative: in mixed",
        multimail("mixed", nested("alternative", PLAIN, HTML), part(PDF, "application/pdf; name=a.pdf")),
        _shape,
        ("Rich words.", ["a.pdf"]),
    ),
    Case(
        "alternative: mixed within (Apple Mail)",
        multimail(
            "alternative",
            PLAIN,
            nested("mixed", HTML, part(PDF, "application/pdf; name=a.pdf"), part("<p>more</p>", "text/html")),
        ),
        _shape,
        ("Rich words.\n\nmore", ["a.pdf"]),
    ),
    Case(
        "alternative: a file in the form that is not taken",
        multimail("alternative", nested("mixed", PLAIN, part(PDF, "application/pdf; name=a.pdf")), HTML),
        _shape,
        ("Rich words.", ["a.pdf"]),
    ),
    Case(
        "alternative: nothing that can be read",
        multimail("alternative", part("x", "application/x-a; name=a"), part("y", "application/x-b; name=b")),
        names,
        ["a", "b"],
    ),
    Case("mixed: two texts", multimail("mixed", part("One."), part("Two.")), text, "One.\n\nTwo."),
    Case(
        "mixed: text, file, text",
        multimail("mixed", part("One."), part(PDF, "application/pdf; name=a.pdf"), part("Two.")),
        _shape,
        ("One.\n\nTwo.", ["a.pdf"]),
    ),
    Case(
        "mixed: an image between texts (Apple Mail)",
        multimail("mixed", part("One."), _image("Content-Disposition: inline; filename=a.png"), part("Two.")),
        _inline,
        ("One.\n\nTwo.", [("a.png", True)]),
    ),
    Case(
        "mixed: an attached image between texts",
        multimail("mixed", part("One."), _image(f"{ATTACHED}; filename=a.png"), part("Two.")),
        _inline,
        ("One.\n\nTwo.", [("a.png", False)]),
    ),
    Case(
        "mixed: text that is attached",
        multimail("mixed", PLAIN, part("x", "text/plain; name=a.txt", ATTACHED)),
        _shape,
        ("Plain words.", ["a.txt"]),
    ),
    Case(
        "mixed: inline text with a name",
        multimail("mixed", PLAIN, part("x", "text/plain", "Content-Disposition: inline; filename=a.txt")),
        _shape,
        ("Plain words.", ["a.txt"]),
    ),
    Case(
        "mixed: attached HTML",
        multimail("mixed", PLAIN, part("<p>x</p>", "text/html; name=a.html", ATTACHED)),
        files,
        [("a.html", "text/html")],
    ),
    Case(
        "mixed: of nothing", mail("", "Content-Type: multipart/mixed; boundary=b\n"), text, "[This mail has no text.]"
    ),
    Case(
        "an unknown kind of multipart",
        multimail("x-strange", PLAIN, part(PDF, "application/pdf; name=a.pdf")),
        _shape,
        ("Plain words.", ["a.pdf"]),
    ),
    Case(
        "related: an image in its place",
        multimail("related", part("<p>a<img src='cid:i@x'>b</p>", "text/html"), _image("Content-ID: <i@x>")),
        _inline,
        ("ab", [("file.png", True)]),
    ),
    Case(
        "related: by location",
        multimail("related", part("<p>a<img src='pic.png'></p>", "text/html"), _image("Content-Location: pic.png")),
        _inline,
        ("a", [("file.png", True)]),
    ),
    Case(
        "related: an encoded cid",
        multimail("related", part("<img src='cid:i%40x'>", "text/html"), _image("Content-ID: <i@x>")),
        _inline,
        ("", [("file.png", True)]),
    ),
    Case(
        "related: an image that is not in the text",
        multimail("related", HTML, _image("Content-ID: <i@x>")),
        _inline,
        ("Rich words.", [("file.png", False)]),
    ),
    Case(
        "related: an image that is missing",
        multimail("related", part("<p>a<img src='cid:no' alt='pic'></p>", "text/html")),
        text,
        "a pic",
    ),
    Case(
        "related: the start is named",
        multimail(
            "related", _image("Content-ID: <i>"), part("<p>x</p>", "text/html", "Content-ID: <s>"), more='; start="<s>"'
        ),
        _shape,
        ("x", ["file.png"]),
    ),
    Case(
        "related: the image first",
        multimail("related", _image("Content-ID: <i>"), HTML),
        _shape,
        ("Rich words.", ["file.png"]),
    ),
    Case(
        "related: one image in a thousand places",
        multimail("related", part("<p>a" + "<img src='cid:i'>" * 1000, "text/html"), _image("Content-ID: <i>")),
        lambda m: sum(isinstance(node, Picture) for node in nodes_of(m.text)),
        1,
    ),
    Case("related: no text", multimail("related", _image("Content-ID: <i>")), names, ["file.png"]),
    Case(
        "signed",
        multimail("signed", PLAIN, part("sig", "application/pgp-signature; name=signature.asc")),
        lambda m: (_shape(m), _remarks(m)),
        (("Plain words.", []), True),
    ),
    Case(
        "signed by S/MIME",
        multimail("signed", PLAIN, part("sig", "application/pkcs7-signature; name=smime.p7s")),
        _shape,
        ("Plain words.", []),
    ),
    Case(
        "signed, and a list has added a footer",
        multimail("signed", PLAIN, part("sig", "application/pgp-signature"), part("Footer.")),
        text,
        "Plain words.\n\nFooter.",
    ),
    Case(
        "encrypted by OpenPGP",
        multimail(
            "encrypted",
            part("Version: 1", "application/pgp-encrypted"),
            part("x", "application/octet-stream; name=encrypted.asc"),
        ),
        _shape,
        ("This mail is encrypted: it cannot be read here.", ["encrypted.asc"]),
    ),
    Case(
        "encrypted by S/MIME",
        _typed("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m"),
        _shape,
        ("This mail is encrypted (S/MIME): it cannot be read here.", ["smime.p7m"]),
    ),
    Case(
        "packed into its signature",
        _typed("application/x-pkcs7-mime; smime-type=signed-data; name=smime.p7m"),
        lambda m: "signature" in text(m),
        True,
    ),
    Case(
        "appledouble",
        multimail(
            "mixed",
            PLAIN,
            nested(
                "appledouble", part("x", "application/applefile; name=a.pdf"), part(PDF, "application/pdf; name=a.pdf")
            ),
        ),
        files,
        [("a.pdf", "application/pdf")],
    ),
    Case(
        "a forwarded mail",
        multimail("mixed", PLAIN, part("From: C <c@example.org>\nSubject: Old\n\nBody", "message/rfc822")),
        _shape,
        ("Plain words.\n\nAttached mail: Old, from C <c@example.org>", ["Old.eml"]),
    ),
    Case(
        "a forwarded mail in base64",
        multimail(
            "mixed",
            PLAIN,
            part(_b64(b"Subject: Old\r\n\r\nBody"), "message/rfc822", "Content-Transfer-Encoding: base64"),
        ),
        names,
        ["Old.eml"],
    ),
    Case(
        "a forwarded mail without anything", multimail("mixed", PLAIN, part("", "message/rfc822")), names, ["mail.eml"]
    ),
    Case(
        "a digest", multimail("digest", b"\nSubject: One\n\nx", b"\nSubject: Two\n\ny"), names, ["One.eml", "Two.eml"]
    ),
    Case(
        "a mail in a mail, 1,000 deep", mail("", "Content-Type: message/rfc822\n\n" * 1000), lambda m: len(m.files), 1
    ),
    Case(
        "a piece of a mail",
        _typed('message/partial; id="a"; number=1; total=2'),
        lambda m: (text(m), len(m.files)),
        ("A part of this mail is a piece of a mail that was sent in several.", 1),
    ),
    Case(
        "a body that is elsewhere",
        _typed('message/external-body; access-type=URL; URL="http://x.example/"'),
        lambda m: ("was not fetched" in text(m), len(m.files)),
        (True, 1),
    ),
    # boundaries
    Case("boundary: none given", mail("--b\n\nHello.\n--b--\n", "Content-Type: multipart/mixed\n"), text, "Hello."),
    Case(
        "boundary: empty",
        mail("--b\n\nHello.\n--b--\n", 'Content-Type: multipart/mixed; boundary=""\n'),
        text,
        "Hello.",
    ),
    Case("boundary: not in the body", mail("Hello.", "Content-Type: multipart/mixed; boundary=b\n"), text, "Hello."),
    Case(
        "boundary: not closed", mail("--b\n\nHello.\n", "Content-Type: multipart/mixed; boundary=b\n"), text, "Hello."
    ),
    Case(
        "boundary: cut in the middle",
        mail("--b\n\nHello.\n--", "Content-Type: multipart/mixed; boundary=b\n"),
        text,
        "Hello.\n--",
    ),
    Case(
        "boundary: with spaces behind",
        mail("--b  \n\nHello.\n--b-- \n", "Content-Type: multipart/mixed; boundary=b\n"),
        text,
        "Hello.",
    ),
    Case(
        "boundary: one begins with the other",
        mail(
            "--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\nHello.\n--bb--\n--b--\n",
            "Content-Type: multipart/mixed; boundary=b\n",
        ),
        text,
        "Hello.",
    ),
    Case(
        "boundary: of odd characters",
        mail("--a+b(c)?=:/\n\nHello.\n", 'Content-Type: multipart/mixed; boundary="a+b(c)?=:/"\n'),
        text,
        "Hello.",
    ),
    Case(
        "boundary: of 5,000 characters",
        mail(f"--{'x' * 500}\n\nHello.\n", f"Content-Type: multipart/mixed; boundary={'x' * 5000}\n"),
        text,
        "Hello.",
    ),
    Case(
        "boundary: text before and behind",
        mail("before\n--b\n\nHello.\n--b--\nbehind", "Content-Type: multipart/mixed; boundary=b\n"),
        text,
        "Hello.",
    ),
    Case(
        "boundary: a line that only looks like it",
        mail("--b\n\n--bc\n x--b\n--b--\n", "Content-Type: multipart/mixed; boundary=b\n"),
        text,
        "--bc\n x--b",
    ),
    Case(
        "boundary: with LF only", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nHello.\n--b--", text, "Hello."
    ),
    Case(
        "boundary: the first has no line end",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b",
        text,
        "[This mail has no text.]",
    ),
    Case(
        "boundary: the same in the multipart within",
        mail(
            "--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nHello.\n--b--\n",
            "Content-Type: multipart/mixed; boundary=b\n",
        ),
        text,
        "Hello.",
    ),
    Case(
        "boundary: the encoding of a multipart is passed over",
        mail(
            "--b\n\nHello.\n--b--\n", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n"
        ),
        text,
        "Hello.",
    ),
    Case(
        "boundary: spaces before the header of a part",
        mail("--b\n \nHello.\n--b--\n", "Content-Type: multipart/mixed; boundary=b\n"),
        text,
        "Hello.",
    ),
    Case(
        "a thousand nested multiparts",
        mail(
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(1000)), "X: y\n"
        )[:-2].replace(b"\r\n\r\nContent-Type", b"\r\nContent-Type", 1),
        lambda m: (_remarks(m), len(m.files)),
        (True, 1),
    ),
    Case(
        "50,000 parts",
        mail(b"--b\n\nx\n" * 50_000, "Content-Type: multipart/mixed; boundary=b\n"),
        lambda m: m.remarks,
        ("This mail has more than 1000 parts: the others were left out.",),
    ),
    Case(
        "300 files",
        multimail("mixed", *[part("x", f"application/x-a; name=f{n}") for n in range(300)]),
        lambda m: (len(m.files), m.remarks),
        (200, ("It has more than 200 files: the others were left out.",)),
    ),
    Case(
        "26 nested multiparts in 1.5 kB",
        lf("From: a@example.org\n" + "Content-Type: multipart/alternative; boundary=b\n\n--b\n" * 26 + "\nHello."),
        lambda m: bool(m.id),
        True,
    ),
    Case(
        "text of a million characters",
        mail("word " * 200_000),
        lambda m: (len(text(m)) <= 200_000, names(m), _remarks(m)),
        (True, ["message.txt"], True),
    ),
    Case("a line of 100,000 characters", mail("x" * 100_000), lambda m: len(text(m)), 100_000),
    Case("control characters in the text", mail(b"a\x00b\x1b[31mc\x07\x7f"), text, "ab[31mc"),
    Case("turning characters in the text", mail("a\u202eb\u2066c"), text, "abc"),
    Case("line separators of Unicode", mail("a\u2028b"), text, "a\nb"),
    Case(
        "lone surrogates in utf-16",
        _cte("base64", _b64(b"\xff\xfe\x00\xd8a\x00"), "text/plain; charset=utf-16"),
        lambda m: text(m).isprintable(),
        True,
    ),
    Case("noncharacters, which we use ourselves", mail("\ufdd0a\ufdd1\ufdd4" + "0\ufdd5"), text, "a0"),
    Case("bytes of no charset", mail(bytes(range(128, 256)) * 3), lambda m: text(m) != "", True),
]
