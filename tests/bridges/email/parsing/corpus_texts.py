"""Odd texts: HTML, flowed lines, quotes, signatures, calendars, winmail.dat."""

import base64
import struct

from bridge_core.api.content import Link, Picture, Quote, Table
from bridge_core.content.tree import nodes_of
from bridges.email.mail import Mail
from tests.bridges.email.parsing.case import Case, files, names, text
from tests.bridges.email.parsing.mails import mail, multimail, part


def _html(body: str) -> bytes:
    return mail(body, "Content-Type: text/html; charset=utf-8\n")


def _flowed(body: str, more: str = "") -> bytes:
    return mail(body, f"Content-Type: text/plain; charset=utf-8; format=flowed{more}\n")


def _trimmed(mail: Mail) -> object:
    return text(mail), mail.trimmed


def _links(mail: Mail) -> list[str]:
    return [node.url for node in nodes_of(mail.text) if isinstance(node, Link)]


def _pictures(mail: Mail) -> list[str | None]:
    return [node.source for node in nodes_of(mail.text) if isinstance(node, Picture)]


def _kinds(mail: Mail) -> list[str]:
    return [type(node).__name__ for node in mail.text]


def _calendar(body: str, method: str = "REQUEST") -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", f"METHOD:{method}", *body.split("\n"), "END:VCALENDAR", ""]
    return multimail(
        "alternative", part("See below."), part("\n".join(lines), f"text/calendar; charset=utf-8; method={method}")
    )


def _event(*lines: str) -> str:
    return "\n".join(["BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT"])


def _tnef(*attributes: tuple[int, bytes], damaged: int = 0, said: str = "Text.") -> bytes:
    data = struct.pack("<IH", 0x223E9F78, 1)
    for number, (attribute, value) in enumerate(attributes):
        data += struct.pack("<BII", 1 if number else 2, attribute, len(value)) + value + b"\0\0"
    if damaged:
        data = data[:-damaged]
    encoded = base64.encodebytes(data).decode()
    return multimail(
        "mixed",
        part(said),
        part(encoded, "application/ms-tnef; name=winmail.dat", "Content-Transfer-Encoding: base64"),
    )


def _properties(*given: tuple[int, int, bytes]) -> bytes:
    data = struct.pack("<I", len(given))
    for kind, name, value in given:
        data += struct.pack("<HHII", kind, name, 1, len(value)) + value + b"\0" * (-len(value) % 4)
    return data


_WROTE = "On Mon, 5 Jan 2026 at 10:00, Alice <alice@example.org> wrote:"
_GMAIL = f'<div class="gmail_quote"><div class="gmail_attr">{_WROTE}<br></div><blockquote class="gmail_quote">Old.</blockquote></div>'

_TRIMMED_HTML: list[tuple[str, str]] = [
    ("Gmail", f"<div>New.</div><br>{_GMAIL}"),
    ("Gmail with a signature", f'<div>New.</div><div class="gmail_signature">Bob<br>Boss</div><br>{_GMAIL}'),
    (
        "Gmail with a prefix",
        f'<div>New.</div><span class="gmail_signature_prefix">-- </span><br><div class="gmail_signature">Bob</div>{_GMAIL}',
    ),
    (
        "Outlook on the web",
        '<div>New.</div><div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><b>From:</b> A<br><b>Sent:</b> Monday<br><b>To:</b> B<br><b>Subject:</b> s</div><div>Old.</div>',
    ),
    (
        "Outlook for Windows",
        '<p class="MsoNormal">New.</p><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p class="MsoNormal"><b>From:</b> A<br><b>Sent:</b> Monday<br><b>To:</b> B<br><b>Subject:</b> s</p></div><p class="MsoNormal">Old.</p>',
    ),
    (
        "Outlook for phones",
        '<div>New.</div><div id="ms-outlook-mobile-signature">Get Outlook for iOS</div><div id="mail-editor-reference-message-container"><div>Old.</div></div>',
    ),
    (
        "Apple Mail",
        f'<html><body>New.<div><br><blockquote type="cite"><div>{_WROTE}</div><br><div>Old.</div></blockquote></div></body></html>',
    ),
    (
        "Apple Mail, the line before",
        f'<div>New.</div><div><br><div>{_WROTE}</div><blockquote type="cite">Old.</blockquote></div>',
    ),
    (
        "Thunderbird",
        f'<p>New.</p><div class="moz-cite-prefix">{_WROTE}<br></div><blockquote type="cite">Old.</blockquote>',
    ),
    (
        "Thunderbird with a signature",
        f'<p>New.</p><div class="moz-cite-prefix">{_WROTE}<br></div><blockquote type="cite">Old.</blockquote><div class="moz-signature">-- <br>Bob</div>',
    ),
    (
        "Proton Mail",
        '<div>New.</div><div class="protonmail_signature_block">Sent with Proton Mail</div><div class="protonmail_quote">Original<blockquote>Old.</blockquote></div>',
    ),
    (
        "Yahoo",
        '<div>New.</div><div id="yahoo_quoted_123" class="yahoo_quoted"><div>On Monday, A wrote:</div><div>Old.</div></div>',
    ),
    (
        "Yahoo seen by Yahoo",
        '<div>New.</div><div id="ydp12yahoo_quoted_1" class="ydp12yahoo_quoted"><div>Old.</div></div>'.replace(
            'id="ydp12yahoo', 'id="yahoo'
        ),
    ),
    (
        "GMX and web.de",
        '<div>New.</div><div name="quote" style="margin:10px"><div>Gesendet: Montag</div><div>Old.</div></div>',
    ),
    (
        "Zimbra",
        '<div>New.</div><hr id="zwchr" data-marker="__DIVIDER__"><div data-marker="__HEADERS__">From: A</div><div data-marker="__QUOTED_TEXT__">Old.</div>',
    ),
    ("Front", '<div>New.</div><blockquote class="front-blockquote">Old.</blockquote>'),
    (
        "Zoho",
        '<div>New.</div><div class="zmail_extra"><div>---- On Mon, A wrote ----</div><blockquote>Old.</blockquote></div>',
    ),
    ("Tutanota", '<div>New.</div><div class="tutanota_quote">Old.</div>'),
    ("Superhuman", '<div>New.</div><div class="sh-quoted-content">Old.</div>'),
    ("a blockquote and nothing else", f"<p>New.</p><p>{_WROTE}</p><blockquote>Old.</blockquote>"),
    ("an original message in words", "<p>New.</p><p>-----Original Message-----</p><p>From: A</p><p>Old.</p>"),
]

_TRIMMED_PLAIN: list[tuple[str, str]] = [
    ("a quote", f"New.\n\n{_WROTE}\n> Old.\n> Older."),
    ("a quote and a signature before", f"New.\n\n-- \nBob\nBoss\n\n{_WROTE}\n> Old."),
    ("a quote and a signature behind", f"New.\n\n{_WROTE}\n> Old.\n\n-- \nBob"),
    (
        "a line said over two lines",
        "New.\n\nOn Mon, 5 Jan 2026 at 10:00, Alice Miller-Smith\n<alice@example.org> wrote:\n> Old.",
    ),
    ("a line in German", "New.\n\nAm 05.01.2026 um 10:00 schrieb Alice <a@example.org>:\n> Old."),
    ("a line in French", "New.\n\nLe lun. 5 janv. 2026 à 10:00, Alice <a@example.org> a écrit :\n> Old."),
    ("a line in Spanish", "New.\n\nEl lun, 5 ene 2026 a las 10:00, Alice (<a@example.org>) escribió:\n> Old."),
    ("a line in Italian", "New.\n\nIl giorno lun 5 gen 2026 alle 10:00 Alice <a@example.org> ha scritto:\n> Old."),
    ("a line in Dutch", "New.\n\nOp ma 5 jan. 2026 om 10:00 schreef Alice <a@example.org>:\n> Old."),
    ("a line in Polish", "New.\n\npon., 5 sty 2026 o 10:00 Alice <a@example.org> napisał(a):\n> Old."),
    ("a line in Russian", "New.\n\nпн, 5 янв. 2026 г. в 10:00, Alice <a@example.org>:\n> Old."),
    ("a line in Swedish", "New.\n\nDen mån 5 jan. 2026 kl 10:00 skrev Alice <a@example.org>:\n> Old."),
    ("a line in Japanese", "New.\n\n2026年1月5日(月) 10:00 Alice <a@example.org>:\n> Old."),
    ("an original message of Outlook", "New.\n\n-----Original Message-----\nFrom: A\nSent: Monday\nOld."),
    ("an original message in German", "New.\n\n-----Ursprüngliche Nachricht-----\nVon: A\nOld."),
    (
        "the header of Outlook",
        "New.\n\n________________________________\nFrom: A <a@example.org>\nSent: Monday, 5 January 2026 10:00\nTo: B\nSubject: s\n\nOld.",
    ),
    (
        "the header of Outlook in German",
        "New.\n\nVon: A <a@example.org>\nGesendet: Montag, 5. Januar 2026 10:00\nAn: B\nBetreff: s\n\nOld.",
    ),
    ("the header of Outlook in French", "New.\n\nDe : A <a@example.org>\nEnvoyé : lundi\nÀ : B\nObjet : s\n\nOld."),
    ("an older mail that is not marked", f"New.\n\n{_WROTE}\n\nOld.\nOlder."),
    ("a signature", "New.\n-- \nBob\nBoss"),
    ("a signature whose space was lost", "New.\n\n--\nBob"),
    ("a phone's signature", "New.\n\nSent from my iPhone"),
    ("a phone's signature in German", "New.\n\nVon meinem iPhone gesendet"),
    ("a phone's signature and a quote", f"New.\n\nSent from my iPhone\n\n{_WROTE}\n> Old."),
    ("Outlook's advertisement", "New.\n\nGet Outlook for Android"),
]

_KEPT_PLAIN: list[tuple[str, str]] = [
    ("answers between quotes", f"{_WROTE}\n> One?\nYes.\n> Two?\nNo."),
    ("an answer between quotes and one at the end", f"{_WROTE}\n> One?\nYes.\n> Two?"),
    ("an answer below the quote", f"{_WROTE}\n> One?\n\nYes."),
    ("nothing but a quote", f"{_WROTE}\n> One?"),
    ("nothing but a signature", "-- \nBob"),
    (
        "a forwarded mail",
        "See.\n\n---------- Forwarded message ---------\nFrom: A <a@example.org>\nDate: Mon\nSubject: s\nTo: b@example.org\n\nOld.",
    ),
    (
        "a forwarded mail in German",
        "Sieh.\n\n-------- Weitergeleitete Nachricht --------\nVon: A\nDatum: Mo\nBetreff: s\n\nOld.",
    ),
    ("a forwarded mail of Apple", "See.\n\nBegin forwarded message:\n\nFrom: A\nSubject: s\nDate: Mon\n\nOld."),
    ("dashes in the text", "One\n--\nTwo and more\n" + "line\n" * 40),
    ("a list with dashes", "- one\n- two\n- three"),
    ("a line that ends with a colon", "The steps are:\n1. go\n2. stop"),
    ("From and To in the text", "From: here\nyou can go anywhere"),
    ("a quote with a word after it", "> quoted\nand so on"),
]

_SHOWN: list[tuple[str, str, str]] = [
    ("entities", "a &amp; b &lt;c&gt; &euro; &#8364; &#x20ac; &nbsp;d", "a & b <c> € € € \xa0d"),
    ("entities twice", "&amp;lt;b&amp;gt;", "&lt;b&gt;"),
    ("a broken entity", "&amp a &foo; &#xffffffff;", "& a &foo; \ufffd"),
    ("scripts and styles", "<style>p{}</style>a<script>alert(1)</script>b", "ab"),
    ("a title", "<head><title>t</title><meta charset=utf-8></head>a", "a"),
    ("a comment", "a<!-- <b>x</b> -->b", "ab"),
    ("a comment for Outlook", "a<!--[if mso]><p>x</p><![endif]-->b<![if !mso]>c<![endif]>", "abc"),
    ("display: none", "a<div style='color:red;display:none'>x</div>b", "ab"),
    ("display: none that is important", "a<span style='DISPLAY : NONE !important'>x</span>b", "ab"),
    ("visibility: hidden", "a<span style='visibility:hidden'>x</span>b", "ab"),
    ("letters of no size", "a<span style='font-size:0px'>x</span>b", "ab"),
    ("letters of some size", "a<span style='font-size:0.9em'>x</span>b", "axb"),
    ("no height", "a<div style='max-height:0;overflow:hidden'>x</div>b", "ab"),
    ("hidden for Outlook", "a<span style='mso-hide:all'>x</span>b", "ab"),
    ("the attribute hidden", "a<span hidden>x</span>b", "ab"),
    ("a hidden element that does not end", "<div>a<span style='display:none'>x</div><div>b</div>", "a\nb"),
    (
        "a line in each block (Gmail)",
        "<div dir=ltr><div>a</div><div>b</div><div><br></div><div>c</div></div>",
        "a\nb\n\nc",
    ),
    (
        "a line in each paragraph (Outlook)",
        "<p class=MsoNormal>a</p><p class=MsoNormal>b</p><p class=MsoNormal><o:p>&nbsp;</o:p></p><p class=MsoNormal>c</p>",
        "a\nb\n\nc",
    ),
    ("lines in quotes", "<blockquote><div>a</div><div>b</div></blockquote>c", "> a\n> b\nc"),
    ("blocks in blocks", "<div><div><div>a</div></div></div><div><div>b</div></div>", "a\nb"),
    ("hidden elements in one another", "a<div hidden>x<div>y</div>z</div>b", "ab"),
    ("filler behind a preheader", "a" + "&zwnj;&nbsp;" * 50 + "b", "a b"),
    ("an image elsewhere", "a <img src='https://t.example/x.png'> b", "a [image blocked: t.example] b"),
    (
        "an image elsewhere with words",
        "<img alt='Logo' src='http://t.example/x.png'>",
        "Logo [image blocked: t.example]",
    ),
    ("an image without scheme", "<img src='//t.example/x.png'>", "[image blocked: t.example]"),
    (
        "two images of one host",
        "<img src='http://t.example/1'><img src='http://t.example/2'>",
        "[image blocked: t.example]",
    ),
    ("a tracker of one pixel", "a<img src='https://t.example/x' width=1 height=1>b", "ab"),
    ("a tracker by its style", "a<img src='https://t.example/x' style='width:1px'>b", "ab"),
    ("an image in the address", "a<img src='data:image/png;base64,AAAA' alt='pic'>b", "a pic b"),
    (
        "a table that is one",
        "<table border=1><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>",
        "a | b\n1 | 2",
    ),
    (
        "a table that is one, without borders",
        "<table><tr><td>a</td><td>1</td></tr><tr><td>b</td><td>2</td></tr></table>",
        "a | 1\nb | 2",
    ),
    (
        "a table for the layout",
        "<table><tr><td><table><tr><td>a</td></tr></table></td></tr><tr><td>b</td></tr></table>",
        "a\nb",
    ),
    (
        "a table said to be for the layout",
        "<table role=presentation border=1><tr><td>a<td>b<tr><td>c<td>d</table>",
        "a\nb\nc\nd",
    ),
    ("lists", "<ul><li>a<li>b</ul><ol start=3><li>c</ol>", "- a\n- b\n3. c"),
    ("paragraphs that do not end", "<p>a<p>b", "a\n\nb"),
    ("elements of Office", "<p class=MsoNormal><o:p>a</o:p></p><v:shape>b</v:shape>", "a\nb"),
    ("breaks", "a<br>b<br/>c", "a\nb\nc"),
    ("preformatted text", "<pre>a\n  b</pre>", "```\na\n  b\n```"),
    ("a form", "<form><input value=x>a<button>b</button><select><option>c</select></form>", "a"),
    ("a frame", "a<iframe src='https://x.example'>x</iframe>b", "ab"),
    ("SVG and MathML", "a<svg><text>x</text></svg><math><mi>y</mi></math>b", "ab"),
    ("tags that do not end", "<b>a", "a"),
    ("ends without tags", "a</b></div></p>", "a"),
    ("a tag that is no tag", "1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ("an attribute that does not end", "a<b x='", "a"),
    ("noncharacters as entities", "a&#xfdd0;&#xfdd4;0&#xfdd5;&#xfdd6;b", "a0b"),
    ("turning characters", "a&#x202e;b", "ab"),
    ("words of another body", "<body>a</body><body>b</body>", "a\nb"),
]

_REAL: list[tuple[str, str, str]] = [
    ("what it says", "<a href='https://example.org/x'>here</a>", "here (https://example.org/x)"),
    ("its own host", "<a href='https://www.example.org/x'>example.org</a>", "example.org (https://www.example.org/x)"),
    (
        "another host than it says",
        "<a href='https://evil.example/x'>https://bank.example/</a>",
        "https://bank.example/ (https://evil.example/x) [evil.example]",
    ),
    (
        "another host than its word",
        "<a href='https://evil.example'>bank.example</a>",
        "bank.example (https://evil.example) [evil.example]",
    ),
    (
        "another host that begins alike",
        "<a href='https://bank.example.evil.example'>www.bank.example</a>",
        "www.bank.example (https://bank.example.evil.example) [bank.example.evil.example]",
    ),
    (
        "a host behind a name",
        "<a href='https://bank.example@evil.example/'>log in</a>",
        "log in (https://bank.example@evil.example/) [evil.example]",
    ),
    (
        "a host of letters that look alike",
        "<a href='https://раураl.example/'>paypal.example</a>",
        "paypal.example (https://раураl.example/) [xn--l-7sba6dbr.example]",
    ),
    (
        "another address than it says",
        "<a href='mailto:x@evil.example'>a@example.org</a>",
        "a@example.org (mailto:x@evil.example) [x@evil.example]",
    ),
    ("script", "<a href='javascript:alert(1)'>x</a>", "x"),
    ("script with a line end in it", "<a href='java\nscript:alert(1)'>x</a>", "x"),
    ("data", "<a href='data:text/html,x'>x</a>", "x"),
    ("a file", "<a href='file:///etc/passwd'>x</a>", "x"),
    ("nothing", "<a href=''>x</a><a>y</a><a href='#top'>z</a>", "xyz"),
    ("a part of the mail", "<a href='cid:a@b'>x</a>", "x"),
    ("a Matrix user", "<a href='https://matrix.to/#/@a:b.c'>A</a>", "A (https://matrix.to/#/@a:b.c)"),
    (
        "a link in a link",
        "<a href='https://a.example'>x<a href='https://b.example'>y</a></a>",
        "x (https://a.example)y (https://b.example)",
    ),
]

CASES = [
    *(Case(f"html trimmed: {odd}", _html(body), _trimmed, ("New.", True)) for odd, body in _TRIMMED_HTML),
    *(Case(f"trimmed: {odd}", mail(body), _trimmed, ("New.", True)) for odd, body in _TRIMMED_PLAIN),
    *(
        Case(
            f"not trimmed: {odd}",
            mail(body),
            lambda m: (m.trimmed, "Old" in text(m) or "One" in text(m)),
            (False, "Old" in body or "One" in body),
        )
        for odd, body in _KEPT_PLAIN
    ),
    *(Case(f"html: {odd}", _html(body), text, want) for odd, body, want in _SHOWN),
    *(Case(f"html: a link that leads to {odd}", _html(body), text, want) for odd, body, want in _REAL),
    Case(
        "html: answers in a quote of Gmail",
        _html(
            f'<div class="gmail_quote"><div class="gmail_attr">{_WROTE}</div><blockquote>One?</blockquote><div>Yes.</div><blockquote>Two?</blockquote></div>'
        ),
        lambda m: (m.trimmed, "Yes." in text(m), "One?" in text(m)),
        (False, True, True),
    ),
    Case(
        "html: forwarded by Gmail",
        _html(
            '<div>See.</div><div class="gmail_quote"><div class="gmail_attr">---------- Forwarded message ---------<br>From: A<br>Date: Mon<br>Subject: s<br></div>Old.</div>'
        ),
        lambda m: (m.trimmed, "Old." in text(m)),
        (False, True),
    ),
    Case("html: nothing but a quote", _html(_GMAIL), lambda m: (m.trimmed, "Old." in text(m)), (False, True)),
    Case(
        "html: what was quoted is kept beside",
        _html(f"<p>New.</p>{_GMAIL}"),
        lambda m: (any(isinstance(n, Quote) for n in m.quoting), "Old." in m.whole),
        (True, True),
    ),
    Case(
        "html: formatting", _html("<p><b>a</b> <i>b</i> <u>c</u> <s>d</s> <code>e</code></p>"), text, "a b c ~~d~~ `e`"
    ),
    Case(
        "html: a quote of the sender",
        _html("<p>a</p><blockquote>b</blockquote><p>c</p>"),
        _kinds,
        ["Paragraph", "Quote", "Paragraph"],
    ),
    Case(
        "html: a table stays one",
        _html("<table border=1><tr><th>a<th>b<tr><td>c<td>d</table>"),
        lambda m: [type(n) for n in m.text],
        [Table],
    ),
    Case(
        "html: no picture has an address",
        _html("<img src='mxc://evil/x' alt=a><img src='https://x.example/'>"),
        _pictures,
        [],
    ),
    Case("html: tags 100,000 deep", _html("<div>" * 100_000 + "x"), lambda m: bool(m.remarks), True),
    Case(
        "html: one tag with 100,000 attributes",
        _html("<p " + " ".join(f"x{n}=1" for n in range(100_000)) + ">x"),
        text,
        "x",
    ),
    Case("html: 300,000 entities", _html("&amp;" * 200_000 + "&lt;"), lambda m: len(text(m)), 200_001),
    Case(
        "html: in a part that is too large",
        multimail("alternative", part("Plain."), part("<p>x</p>" * 20_000, "text/html")),
        text,
        "Plain.",
    ),
    Case("flowed: lines joined", _flowed("One \ntwo \nthree.\nFour."), text, "One two three.\nFour."),
    Case("flowed: spaces dropped", _flowed("On \ne.", "; delsp=yes"), text, "One."),
    Case("flowed: stuffed spaces", _flowed(" >no quote\n From here"), text, ">no quote\nFrom here"),
    Case("flowed: quotes of two depths", _flowed("> a \n> b\n>> c \n>> d\nx"), text, "> a b\n> > c d\nx"),
    Case("flowed: a signature line is not joined", _flowed("New.\n-- \nBob"), _trimmed, ("New.", True)),
    Case("flowed: a last line that is open", _flowed("One \ntwo "), text, "One two"),
    Case("plain: quotes 30 deep", mail("x\n" + ">" * 30 + " a\ny"), lambda m: text(m).count(">"), 8),
    Case("plain: >From of mailboxes", mail(">From here on\nx"), text, ">From here on\nx"),
    Case("plain: many empty lines", mail("a" + "\n" * 50 + "b"), text, "a\n\n\nb"),
    Case("plain: a million >", mail(">" * 1_000_000), lambda m: bool(m.remarks), True),
    Case(
        "list footer as a part of its own",
        multimail(
            "mixed",
            part("New."),
            part("_______________\nList mailing list\nhttps://list.example/"),
            headers="List-Id: <l.example>\n",
        ),
        _trimmed,
        ("New.", True),
    ),
    Case(
        "a part with a line that is no list footer",
        multimail("mixed", part("New."), part("_______________\nMore.")),
        lambda m: "More." in text(m),
        True,
    ),
    Case(
        "calendar: an invitation",
        _calendar(
            _event(
                "SUMMARY:Lunch",
                "DTSTART:20260105T120000Z",
                "DTEND:20260105T130000Z",
                "LOCATION:Room 1",
                "ORGANIZER;CN=Bob:mailto:bob@example.org",
                "ATTENDEE;CN=Al:mailto:al@example.org",
            )
        ),
        text,
        "See below.\n\nInvitation: Lunch\nWhen: Mon 5 Jan 2026 12:00 to 13:00 (UTC)\nWhere: Room 1\nFrom: Bob <bob@example.org>\nWho: Al <al@example.org>",
    ),
    Case(
        "calendar: a zone by its name",
        _calendar(
            _event(
                "SUMMARY:x", "DTSTART;TZID=Europe/Berlin:20260105T120000", "DTEND;TZID=Europe/Berlin:20260105T130000"
            )
        ),
        lambda m: "12:00 to 13:00 (Europe/Berlin, UTC+1:00)" in text(m),
        True,
    ),
    Case(
        "calendar: a zone of Windows",
        _calendar(_event("SUMMARY:x", "DTSTART;TZID=W. Europe Standard Time:20260705T120000")),
        lambda m: "(W. Europe Standard Time, UTC+2:00)" in text(m),
        True,
    ),
    Case(
        "calendar: no zone",
        _calendar(_event("SUMMARY:x", "DTSTART:20260105T120000")),
        lambda m: "12:00 (local time)" in text(m),
        True,
    ),
    Case(
        "calendar: a whole day",
        _calendar(_event("SUMMARY:x", "DTSTART;VALUE=DATE:20260105", "DTEND;VALUE=DATE:20260106")),
        lambda m: "When: Mon 5 Jan 2026\n" in text(m) + "\n",
        True,
    ),
    Case(
        "calendar: several days",
        _calendar(_event("SUMMARY:x", "DTSTART;VALUE=DATE:20260105", "DTEND;VALUE=DATE:20260108")),
        lambda m: "Mon 5 Jan 2026 to Wed 7 Jan 2026" in text(m),
        True,
    ),
    Case(
        "calendar: a duration",
        _calendar(_event("SUMMARY:x", "DTSTART:20260105T120000Z", "DURATION:PT90M")),
        lambda m: "12:00 to 13:30" in text(m),
        True,
    ),
    Case(
        "calendar: every week",
        _calendar(_event("SUMMARY:x", "DTSTART:20260105T120000Z", "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;COUNT=5")),
        lambda m: "Repeats: weekly, every 2 on MO, WE, 5 times" in text(m),
        True,
    ),
    Case(
        "calendar: cancelled",
        _calendar(_event("SUMMARY:x", "DTSTART:20260105T120000Z"), "CANCEL"),
        lambda m: "Cancelled: x" in text(m),
        True,
    ),
    Case(
        "calendar: an answer",
        _calendar(
            _event("SUMMARY:x", "DTSTART:20260105T120000Z", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:al@example.org"), "REPLY"
        ),
        lambda m: "al@example.org accepts" in text(m),
        True,
    ),
    Case("calendar: broken lines", _calendar(_event("SUMMARY", "DTSTART:never", ":::")), names, ["invitation.ics"]),
    Case("calendar: nothing in it", _calendar(""), names, ["invitation.ics"]),
    Case(
        "calendar: the same attached again",
        multimail(
            "mixed",
            part("BEGIN:VCALENDAR\nEND:VCALENDAR", "text/calendar"),
            part("BEGIN:VCALENDAR\nEND:VCALENDAR", "application/ics; name=invite.ics"),
        ),
        names,
        ["invitation.ics"],
    ),
    Case(
        "winmail.dat: a file",
        _tnef((0x00069002, b"\0" * 14), (0x00018010, b"a.txt\0"), (0x0006800F, b"abc")),
        lambda m: (text(m), files(m), m.files[0].size),
        ("Text.", [("a.txt", "text/plain")], 3),
    ),
    Case(
        "winmail.dat: a long name",
        _tnef(
            (0x00069002, b"\0" * 14),
            (0x00018010, b"A~1.TXT\0"),
            (0x0006800F, b"abc"),
            (0x00069005, _properties((0x1F, 0x3707, "ä long.txt\0".encode("utf-16-le")))),
        ),
        names,
        ["ä long.txt"],
    ),
    Case("winmail.dat: text that is there already", _tnef((0x0002800C, b"From Outlook.\0")), text, "Text."),
    Case(
        "winmail.dat: HTML of a text that is there already",
        _tnef((0x00069003, _properties((0x102, 0x1013, b"<p>From <b>Outlook</b>.</p>")))),
        text,
        "Text.",
    ),
    Case(
        "winmail.dat: text that is nowhere else",
        _tnef((0x0002800C, b"From Outlook.\0"), said=""),
        text,
        "From Outlook.",
    ),
    Case(
        "winmail.dat: HTML that is nowhere else",
        _tnef((0x00069003, _properties((0x102, 0x1013, b"<p>From <b>Outlook</b>.</p>"))), said=""),
        text,
        "From Outlook.",
    ),
    Case(
        "winmail.dat: compressed text only",
        _tnef((0x00069003, _properties((0x102, 0x1009, b"LZFu"))), said=""),
        lambda m: (text(m), len(m.remarks)),
        ("[This mail has no text.]", 1),
    ),
    Case(
        "winmail.dat: cut in the middle",
        _tnef(
            (0x00069002, b"\0" * 14),
            (0x00018010, b"a.txt\0"),
            (0x0006800F, b"abc"),
            (0x00069002, b"x" * 50),
            damaged=20,
        ),
        lambda m: (names(m), bool(m.remarks)),
        (["a.txt"], True),
    ),
    Case(
        "winmail.dat: lengths that lie",
        _tnef((0x00069003, struct.pack("<IHHI", 2**32 - 1, 0x1F, 0x1000, 2**32 - 1))),
        text,
        "Text.",
    ),
    Case(
        "winmail.dat: that is none",
        multimail("mixed", part("Text."), part("no", "application/ms-tnef; name=winmail.dat")),
        names,
        ["winmail.dat"],
    ),
    Case(
        "winmail.dat: a path as a name",
        _tnef((0x00069002, b""), (0x00018010, b"..\\..\\a.txt\0"), (0x0006800F, b"abc")),
        names,
        ["a.txt"],
    ),
]
