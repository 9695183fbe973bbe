"""Mails that were made, or met, to cost much: those measured in other bridges and libraries, and those found here."""

import base64
from collections.abc import Mapping

from tests.bridges.email.parsing.mails import lf

_FROM = b"From: a@example.org\r\nSubject: s\r\n"
_HTML = _FROM + b"Content-Type: text/html\r\n\r\n"
_MIXED = _FROM + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def _nested(depth: int, kind: bytes = b"mixed") -> bytes:
    return _FROM + b"".join(
        b"Content-Type: multipart/%s; boundary=b%d\r\n\r\n--b%d\r\n" % (kind, n, n) for n in range(depth)
    )


def _filled(beginning: bytes, unit: bytes, size: int, end: bytes = b"") -> bytes:
    return beginning + unit * ((size - len(beginning) - len(end)) // len(unit)) + end


LARGE: Mapping[str, bytes] = {
    "1,000 nested multiparts": _nested(1000),
    "1,000 nested mails": _FROM + b"Content-Type: message/rfc822\r\n\r\n" * 1000,
    "32,000 addresses in one line": _FROM
    + b"To: "
    + b", ".join(b"u%d@example.org" % n for n in range(32_000))
    + b"\r\n\r\nx",
    "32,000 addresses folded": _FROM
    + b"To: "
    + b",\r\n ".join(b"u%d@example.org" % n for n in range(32_000))
    + b"\r\n\r\nx",
    "32,000 addresses in 32,000 headers": _FROM + b"To: u@example.org\r\n" * 32_000 + b"\r\nx",
    "50,000 parts": _filled(_MIXED, b"--b\r\n\r\nx\r\n", 500_000, b"--b--"),
    "300,000 headers": b"A: b\r\n" * 300_000 + b"\r\nx",
    "comments 1,000 deep": b"From: " + b"(" * 1000 + b")" * 1000 + b" a@example.org\r\n\r\nx",
    "1,000 parts of HTML": _MIXED + (b"--b\r\nContent-Type: text/html\r\n\r\n" + b"<p>x" * 200 + b"\r\n") * 999,
    "1,000 parts of no charset": _MIXED
    + (b"--b\r\nContent-Type: text/plain; charset=x\r\n\r\n" + bytes(range(128, 256)) * 8 + b"\r\n") * 999,
    "1,000 invitations": _MIXED
    + b"".join(
        b"--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:%d\r\nDTSTART:20260101T100000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        % n
        for n in range(999)
    ),
    "an invitation of 20,000 lines": _FROM
    + b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"
    + b"ATTENDEE:a@b\r\n" * 18_000
    + b"END:VEVENT\r\nEND:VCALENDAR\r\n",
    "a megabyte of entities": _filled(_HTML, b"&", 1_000_000),
    "a megabyte of escaped entities": _filled(_HTML, b"&amp;", 1_000_000),
    "a megabyte of nested elements": _filled(_HTML, b"<div>", 1_000_000),
    "a megabyte of nested tables": _filled(_HTML, b"<table><tr><td>", 1_000_000),
    "a megabyte of nested links": _filled(_HTML, b"<a href=http://x.example>q", 1_000_000),
    "a megabyte of formatting": _filled(_HTML, b"<b><i><u><s><p>", 1_000_000),
    "a megabyte of quotes of Gmail": _filled(_HTML, b"<div class=gmail_quote>a", 1_000_000),
    "a megabyte of lines above": _filled(_HTML, b'<div style="border-top:solid">', 1_000_000, b"x" * 1000),
    "a megabyte of attributes": _filled(_HTML + b"<p ", b"x ", 1_000_000),
    "a megabyte of other attributes": _HTML + b"<p " + b" ".join(b"x%d=1" % n for n in range(100_000)) + b">x",
    "a megabyte of a style": _filled(_HTML + b'<p style="', b"display:n;", 1_000_000),
    "a megabyte of comments that do not end": _filled(_HTML, b"<!--", 1_000_000),
    "a megabyte of quotation marks": _filled(_FROM + b"\r\n", b">", 1_000_000),
    "a megabyte of lines": _filled(_FROM + b"\r\n", b"a:\r\n", 1_000_000),
    "a megabyte of empty lines": _filled(_FROM + b"\r\n", b"\r\n", 1_000_000),
    "a megabyte of headlines": _filled(_FROM + b"\r\n", b"On 1.1.2026 at 10:00 a@b wrote:\r\n", 1_000_000),
    "a megabyte of uuencode": _filled(_FROM + b"\r\n", b"begin 644 a\r\nend\r\n", 1_000_000),
    "a megabyte that begins uuencode": _filled(_FROM + b"\r\n", b"begin 644 a\r\n", 1_000_000),
    "a megabyte of padding": _filled(_FROM + b"Content-Transfer-Encoding: base64\r\n\r\n", b"QQ==", 1_000_000),
    "a megabyte of dashes": _filled(
        _FROM + b'Content-Type: multipart/mixed; boundary="-----------"\r\n\r\n', b"-", 1_000_000
    ),
    "25 MiB of a file": _filled(
        _MIXED + b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        b"A" * 76 + b"\r\n",
        25 << 20,
        b"\r\n--b--",
    ),
    "4 MB thirty deep": _filled(_nested(29), b"x" * 70 + b"\r\n", 4_000_000),
    "a winmail.dat of lies": _FROM
    + b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"\x78\x9f\x3e\x22\0\0" + (b"\x01\x02\x90\x06\0" + b"\0" * 6) * 90_000),
    "a report of 100,000 groups": _FROM
    + b"Content-Type: message/delivery-status\r\n\r\n"
    + b"Final-Recipient: rfc822;a@b\r\n\r\n" * 100_000,
}
"""Each costs a worker at most two seconds."""


def _small() -> dict[str, bytes]:
    def fill(beginning: bytes, unit: bytes, end: bytes = b"") -> bytes:
        return _filled(beginning, unit, 10_000, end)

    def header(name: bytes, unit: bytes) -> bytes:
        return fill(b"From: a@example.org\r\n" + name + b": ", unit, b"\r\n\r\nx")

    return {
        "26 nested multiparts in 1.5 kB": lf(
            b"From: a@example.org\n" + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 26
        ),
        "26 nested alternatives": _nested(26, b"alternative"),
        "nested multiparts with one boundary": fill(_FROM, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"),
        "nested multiparts of one letter": _nested(180),
        "a multipart of dashes": fill(_FROM + b"Content-Type: multipart/mixed; boundary=-\r\n\r\n", b"---\r\n"),
        "empty lines (cubic in mail-parser-reply)": fill(_FROM + b"\r\n", b"\r\n"),
        "spaces": fill(_FROM + b"\r\n", b" "),
        "On On On": fill(_FROM + b"\r\n", b"On 1 "),
        "From: From: From:": fill(_FROM + b"\r\n", b"From: a\r\n"),
        "Sent: Sent: Sent:": fill(_FROM + b"\r\n", b"From: \r\nSent: \r\n"),
        "quotes": fill(_FROM + b"\r\n", b"> "),
        "underscores": fill(_FROM + b"\r\n", b"_"),
        "at signs": fill(_FROM + b"\r\n", b"a@"),
        "dots": fill(_FROM + b"\r\n", b"a."),
        "signatures": fill(_FROM + b"\r\n", b"-- \r\n"),
        "elements": fill(_HTML, b"<b>"),
        "entities": fill(_HTML, b"&amp;"),
        "links that say hosts": fill(_HTML, b"<a href=//a.b>a.b</a>"),
        "a link that says many hosts": fill(_HTML + b"<a href=http://x.y>", b"a."),
        "a link of at signs": fill(_HTML + b"<a href='http://", b"a@", b"'>x</a>"),
        "a style of spaces": fill(_HTML + b'<p style="', b" ", b'display:none">x'),
        "a style of semicolons": fill(_HTML + b'<p style="', b"; ", b'">x'),
        "filler": fill(_HTML, b"&zwnj;&nbsp;"),
        "images": fill(_HTML, b"<img src=//a.b>"),
        "subject of words": header(b"Subject", b"=?utf-8?q?a?= "),
        "subject of beginnings of words": header(b"Subject", b"=?"),
        "subject of question marks": header(b"Subject", b"=?a?q?"),
        "addresses of quotes": header(b"To", b'"'),
        "addresses of backslashes": header(b"To", b'"\\'),
        "addresses of brackets": header(b"To", b"<"),
        "addresses of square brackets": header(b"To", b"["),
        "addresses of equals signs": header(b"To", b"="),
        "addresses of comments": header(b"To", b"("),
        "addresses of colons": header(b"To", b"a:"),
        "addresses of at signs": header(b"To", b"@"),
        "type of semicolons": header(b"Content-Type", b";"),
        "type of spaces": header(b"Content-Type", b" "),
        "type of stars": header(b"Content-Type", b"; a*0*=x"),
        "type of quotes": header(b"Content-Type", b'; a="'),
        "type of percents": header(b"Content-Disposition", b"; filename*=utf-8''%%"),
        "references": header(b"References", b"<a> "),
        "references of brackets": header(b"References", b"<"),
        "dates": header(b"Date", b"1 "),
        "dates of colons": header(b"Date", b"1:"),
        "list ids": header(b"List-Id", b"<("),
        "unsubscribe": header(b"List-Unsubscribe", b"<https:"),
        "unsubscribe of spaces": header(b"List-Unsubscribe", b"< "),
        "an encoded charset": header(b"Content-Type", b"text/plain; charset=iso-2022-jp"),
        "utf-7": fill(_FROM + b"Content-Type: text/plain; charset=utf-7\r\n\r\n", b"+AOQ-"),
        "iso-2022-kr": fill(_FROM + b"Content-Type: text/plain; charset=iso-2022-kr\r\n\r\n", b"\x1b$)C\x0e"),
        "no charset": fill(_FROM + b"Content-Type: text/plain; charset=x\r\n\r\n", bytes(range(128, 256))),
        "a calendar": fill(_FROM + b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n", b"BEGIN:VEVENT\r\n"),
        "a calendar of quotes": fill(
            _FROM + b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nA;", b'X="'
        ),
        "a calendar of backslashes": fill(
            _FROM + b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:", b"\\;"
        ),
        "a rule without end": _FROM
        + b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:20260101T000000Z\r\nRRULE:FREQ=SECONDLY;COUNT=999999999\r\nEND:VEVENT\r\nEND:VCALENDAR",
        "a report": fill(_FROM + b"Content-Type: message/delivery-status\r\n\r\n", b"a\r\n\r\n"),
        "a report in words": fill(b"From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n", b"<a@b>:\r\n"),
        "a report of at signs": fill(b"From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n", b"a@"),
        "a report of dashes": fill(b"From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n", b"\r\n--"),
        "uuencode": fill(_FROM + b"\r\n", b"begin 644 a \r\n"),
    }


SMALL: Mapping[str, bytes] = _small()
"""At most 10 kB each: none costs a second."""
