"""Odd headers."""

import base64

from bridges.email.mail import Mail
from tests.bridges.email.parsing.case import Case, authors, subject, text, to
from tests.bridges.email.parsing.mails import lf, mail

NOW = 1_800_000_000_000


def _from(value: str | bytes) -> bytes:
    given = value.encode() if isinstance(value, str) else value
    return lf(b"From: " + given + b"\nSubject: s\nMessage-ID: <1@x>\n\nHello.")


def _to(value: str) -> bytes:
    return mail(headers=f"To: {value}").replace(b"To: room@bridge.example\r\n", b"", 1)


def _subject(value: str | bytes) -> bytes:
    given = value.encode() if isinstance(value, str) else value
    return lf(b"From: a@example.org\nSubject: " + given + b"\n\nHello.")


def _id(mail: Mail) -> object:
    return mail.id


def _message(name: str, value: str) -> bytes:
    return lf(f"From: a@example.org\n{name}: {value}\n\nHello.")


_WORDS: list[tuple[str, str | bytes, str]] = [
    ("Q encoding", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
    ("B encoding", "=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
    ("B encoding without padding", "=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"),
    ("B encoding with junk in it", "=?UTF-8?B?R3LD vMOf*ZQ==?=", "Grüße"),
    ("B encoding of impossible length", "=?utf-8?b?YWJjZ?=", "abc"),
    ("Q encoding with raw spaces", "=?utf-8?q?Gr=C3=BC=C3=9Fe an alle?=", "Grüße an alle"),
    ("Q encoding with underscores", "=?utf-8?q?one_two?=", "one two"),
    ("Q encoding with a broken escape", "=?utf-8?q?100=_sure=ZZ?=", "100= sure=ZZ"),
    ("two words and the space between them", "=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
    ("two words of different charsets", "=?utf-8?q?=C3=A4?= =?iso-8859-1?q?=F6?=", "äö"),
    ("a letter cut between two words", "=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=", "Grüße"),
    ("a letter cut between two words in base64", "=?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?=", "Grüße"),
    ("words folded over lines", "=?utf-8?q?a?=\n =?utf-8?q?b?=\n\tc", "ab c"),
    ("words and plain text", "Re: =?utf-8?q?=C3=A4?= [x] =?utf-8?q?=C3=B6?=!", "Re: ä [x] ö!"),
    ("a word in the middle of a word", "a=?utf-8?q?=C3=A4?=b", "aäb"),
    ("an unknown charset", "=?x-nothing?q?caf=C3=A9?=", "café"),
    ("a charset with a language (RFC 2231)", "=?utf-8*de?q?=C3=A4?=", "ä"),
    ("an unknown encoding", "=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
    ("a word that does not end", "=?utf-8?q?abc", "=?utf-8?q?abc"),
    ("an empty word", "a =?utf-8?q??= b", "a b"),
    ("raw UTF-8", "Grüße", "Grüße"),
    ("raw windows-1252", "Gr\xfc\xdfe \x80".encode("latin-1"), "Grüße €"),
    ("raw mixed", "a=\xfc".encode("latin-1") + "ö".encode(), "a=üÃ¶"),
    ("shift-jis", b"=?shift_jis?b?" + base64.b64encode("日本語".encode("cp932")) + b"?=", "日本語"),
    ("iso-2022-jp", b"=?iso-2022-jp?b?" + base64.b64encode("日本語".encode("iso2022_jp")) + b"?=", "日本語"),
    ("gb2312 with a letter of gb18030", b"=?gb2312?b?" + base64.b64encode("镕".encode("gb18030")) + b"?=", "镕"),
    ("euc-kr called ks_c_5601-1987", b"=?ks_c_5601-1987?b?" + base64.b64encode("한국".encode("cp949")) + b"?=", "한국"),
    ("koi8-r", b"=?koi8-r?b?" + base64.b64encode("привет".encode("koi8-r")) + b"?=", "привет"),
    ("utf-7", "=?utf-7?q?+AOQ-?=", "ä"),
    ("rot13, which is no charset", "=?rot13?q?Uryyb?=", "Uryyb"),
    ("idna, which is no charset", "=?idna?q?xn--a?=", "xn--a"),
    ("unicode_escape, which is no charset", "=?unicode_escape?q?=5Cu0041?=", "\\u0041"),
    ("uu, zlib and hex, which are none either", "=?zlib?q?x?= =?hex?q?41?=", "x41"),
    ("control characters in a word", "=?utf-8?q?a=00b=0D=0Ac=1B?=", "a b c"),
    ("a header in a word", "=?utf-8?q?a=0D=0AX-Evil:_1?=", "a X-Evil: 1"),
    ("turning characters", "=?utf-8?q?a=E2=80=AEb?=", "ab"),
    ("invisible characters", "=?utf-8?q?a=E2=80=8Bb=C2=ADc?=", "abc"),
    ("tag characters", "=?utf-8?b?YfOggYHzoIGC?=", "a"),
    ("lone surrogates in utf-7", "=?utf-7?q?+2AA-?=", "?"),
    ("5,000 words", "=?utf-8?q?a?= " * 5000, "a" * 500),
    ("a very long subject", "x" * 5000, "x" * 500),
    ("only spaces", "   ", ""),
    ("a bare CR in the value", b"one\rX-Evil: two", "one X-Evil: two"),
    ("NUL bytes", b"one\x00two", "one two"),
    ("an encoded word within an encoded word", "=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?x?="),
]

_AUTHORS: list[tuple[str, str | bytes, list[tuple[str, str]]]] = [
    ("a bare address", "bob@example.org", [("", "bob@example.org")]),
    ("an address in brackets", "<bob@example.org>", [("", "bob@example.org")]),
    ("a name and an address", "Bob <bob@example.org>", [("Bob", "bob@example.org")]),
    ("a quoted name", '"Bob, the Builder" <bob@example.org>', [("Bob, the Builder", "bob@example.org")]),
    ("a name with escaped quotes", r'"Bob \"B\" Ross" <bob@example.org>', [('Bob "B" Ross', "bob@example.org")]),
    ("a name with an unended quote", '"Bob <bob@example.org>', []),
    ("a name in an encoded word", "=?utf-8?q?J=C3=B6rg?= <j@example.org>", [("Jörg", "j@example.org")]),
    ("an encoded word in quotes", '"=?utf-8?q?J=C3=B6rg?=" <j@example.org>', [("Jörg", "j@example.org")]),
    ("a raw comma in an encoded word", "=?utf-8?q?Doe,_J?= <j@example.org>", [("Doe, J", "j@example.org")]),
    (
        "an encoded word that holds an address",
        "=?utf-8?q?a=40b.c_<x?= <j@example.org>",
        [("a@b.c <x <j@example.org>", "j@example.org")],
    ),
    ("the old form with the name in a comment", "bob@example.org (Bob)", [("Bob", "bob@example.org")]),
    ("a comment in a comment", "bob@example.org (Bob (the) man)", [("Bob (the) man", "bob@example.org")]),
    ("a comment that does not end", "bob@example.org (Bob", [("Bob", "bob@example.org")]),
    ("an empty comment and a colon (crashes CPython)", "(c):", []),
    ("a comment with an escaped parenthesis", r"bob@example.org (a\)b)", [(r"a\)b", "bob@example.org")]),
    (
        "comments nested 1,000 deep (crash CPython)",
        "(" * 1000 + ")" * 1000 + " bob@example.org",
        [("(" * 100, "bob@example.org")],
    ),
    ("two authors", "a@example.org, B <b@example.org>", [("", "a@example.org"), ("B", "b@example.org")]),
    ("a group", "Team: a@example.org, B <b@example.org>;", [("", "a@example.org"), ("B", "b@example.org")]),
    ("an empty group", "undisclosed-recipients:;", []),
    (
        "semicolons between addresses (Outlook)",
        "a@example.org; b@example.org",
        [("", "a@example.org"), ("", "b@example.org")],
    ),
    ("a route", "<@relay.example,@b.example:a@example.org>", [("", "a@example.org")]),
    ("an address literal", "root@[192.0.2.1]", [("", "root@[192.0.2.1]")]),
    ("an IPv6 literal", "root@[IPv6:2001:db8::1]", [("", "root@[ipv6:2001:db8::1]")]),
    ("a quoted local part", '"a b"@example.org', [("", '"a b"@example.org')]),
    ("a quoted local part with a name", 'A B <"a b"@example.org>', [("A B", '"a b"@example.org')]),
    ("upper case", "BOB@EXAMPLE.ORG", [("", "BOB@example.org")]),
    ("spaces in brackets", "Bob < bob@example.org >", [("Bob", "bob@example.org")]),
    ("mailto in brackets", "Bob <mailto:bob@example.org>", [("Bob", "bob@example.org")]),
    ("quotes around the address", "'bob@example.org' <bob@example.org>", [("", "bob@example.org")]),
    ("a name that is the address", "bob@example.org <bob@example.org>", [("", "bob@example.org")]),
    (
        "a name that is another address",
        '"ceo@corp.example" <x@evil.example>',
        [("ceo@corp.example <x@evil.example>", "x@evil.example")],
    ),
    (
        "a name with a wide @",
        "ceo＠corp.example <x@evil.example>",
        [("ceo＠corp.example <x@evil.example>", "x@evil.example")],
    ),
    ("a name with letters of two scripts", "Pаypal <x@evil.example>", [("Pаypal <x@evil.example>", "x@evil.example")]),
    ("a name with turning characters", "a\u202eb <x@example.org>", [("ab", "x@example.org")]),
    ("a name with invisible characters", "A\u200bl\u2060ice <x@example.org>", [("Alice", "x@example.org")]),
    ("raw windows-1252 in the name", "J\xf6rg <j@example.org>".encode("latin-1"), [("Jörg", "j@example.org")]),
    ("a dot at the end of the domain", "bob@example.org.", [("", "bob@example.org")]),
    ("UTF-8 in the address (SMTPUTF8)", "jörg@bücher.example", [("", "jörg@bücher.example")]),
    ("an invisible letter in the address", "Bob <b\u200bob@example.org>", []),
    ("a turning character in the domain", "Bob <bob@exam\u202eple.org>", []),
    ("nothing", "", []),
    ("only a name", "Bob", []),
    ("an address that is none", "Bob <bob>", []),
    ("two at signs", "Bob <a@b@example.org>", []),
    ("a NUL in the address", b"Bob <a\x00b@example.org>", [("Bob", "ab@example.org")]),
    ("empty brackets before the address", "Bob <> bob@example.org", [("Bob", "bob@example.org")]),
    ("folded over lines", "Bob\n Ross\n\t<bob@example.org>", [("Bob Ross", "bob@example.org")]),
    ("a very long name", "x" * 3000 + " <x@example.org>", [("x" * 100, "x@example.org")]),
    ("a dot in the name", "Dr. Bob <bob@example.org>", [("Dr. Bob", "bob@example.org")]),
    ("a slash in the name", "Bob/IT <bob@example.org>", [("Bob/IT", "bob@example.org")]),
    ("a colon in the name", "Re: Bob <bob@example.org>", [("Bob", "bob@example.org")]),
    ("backslashes to the end", '"' + "\\" * 500, []),
]

_IDS: list[tuple[str, str, str]] = [
    ("an id", "<a.b@example.org>", "a.b@example.org"),
    ("brackets in the id (Exchange; crashes CPython)", "<[abc@microsoft.com]>", "[abc@microsoft.com]"),
    ("no brackets", "abc@example.org", "abc@example.org"),
    ("no at sign", "<abc>", "abc"),
    ("a space in the id", "<a b@example.org>", "a b@example.org"),
    ("words around the id", "the id <a@b> it is", "a@b"),
    ("two ids", "<a@b> <c@d>", "a@b"),
    ("an id that was encoded", "=?utf-8?q?=3Ca=40b=3E?=", "a@b"),
    ("a colon and slashes", "<a:b/c@d>", "a:b/c@d"),
    ("a percent sign", "<%s%n@d>", "%s%n@d"),
    ("a bracket that is not closed", "<a@b", "a@b"),
    ("UTF-8", "<ä@b>", "ä@b"),
]

_DATES: list[tuple[str, str, int | None]] = [
    ("a usual date", "Thu, 1 Jan 2015 00:00:00 +0000", 1_420_070_400_000),
    ("a zone east", "Thu, 1 Jan 2015 02:00:00 +0200", 1_420_070_400_000),
    ("an old zone", "Wed, 31 Dec 2014 19:00:00 EST", 1_420_070_400_000),
    ("no weekday", "1 Jan 2015 00:00:00 +0000", 1_420_070_400_000),
    ("two digits of a year", "Thu, 1 Jan 15 00:00:00 +0000", 1_420_070_400_000),
    ("a comment behind", "Thu, 1 Jan 2015 00:00:00 +0000 (UTC)", 1_420_070_400_000),
    ("the future", "Fri, 1 Jan 2100 00:00:00 +0000", NOW),
    ("before 1970", "Mon, 1 Jan 1900 00:00:00 +0000", 0),
    ("the year 99999", "Fri, 1 Jan 99999 00:00:00 +0000", None),
    ("a month that is none", "1 Foo 2015 00:00:00 +0000", None),
    ("nothing", "", None),
    ("words", "yesterday at noon", None),
    ("numbers without end", "1 " * 20_000, None),
    ("a zone without end", "1 Jan 2015 00:00:00 +" + "9" * 4000, None),
]


CASES = [
    *(Case(f"subject: {odd}", _subject(value), subject, want) for odd, value, want in _WORDS),
    *(Case(f"from: {odd}", _from(value), authors, want) for odd, value, want in _AUTHORS),
    *(Case(f"message-id: {odd}", _message("Message-ID", value), _id, want) for odd, value, want in _IDS),
    *(Case(f"date: {odd}", _message("Date", value), lambda m: m.date, want) for odd, value, want in _DATES),
    Case("to: 600 addresses", _to(", ".join(f"u{n}@example.org" for n in range(600))), lambda m: len(m.to), 500),
    Case("to: split over two headers", mail(headers="To: b@example.org"), to, ["room@bridge.example", "b@example.org"]),
    Case(
        "from: twice",
        _from("a@example.org\nFrom: b@example.org"),
        authors,
        [("", "a@example.org"), ("", "b@example.org")],
    ),
    Case("no header at all", b"Hello.\r\nYou.", text, "Hello.\nYou."),
    Case("no body", lf("From: a@example.org\nSubject: s"), text, "[This mail has no text.]"),
    Case("nothing at all", b"", text, "[This mail has no text.]"),
    Case("only line ends", b"\r\n\r\n\r\n", text, "[This mail has no text.]"),
    Case("LF line ends", b"From: a@example.org\nSubject: s\n\nHello.\n", text, "Hello."),
    Case("mixed line ends", b"From: a@example.org\r\nSubject: s\n\r\nHello.\n", text, "Hello."),
    Case("an mbox line first", b"From bob Thu Jan 1 00:00:00 2015\r\nSubject: s\r\n\r\nHello.", subject, "s"),
    Case(
        "a line in the header that is no field",
        lf("From: a@example.org\nnot a field\nSubject: s\n\nx"),
        text,
        "not a field\nSubject: s\n\nx",
    ),
    Case("a space before the colon", lf("From: a@example.org\nSubject : s\n\nx"), subject, "s"),
    Case("no space behind the colon", lf("From:a@example.org\nSubject:s\n\nx"), subject, "s"),
    Case("names of fields in upper case", lf("FROM: a@example.org\nSUBJECT: s\n\nx"), subject, "s"),
    Case("a first line that goes on", lf(" folded\nFrom: a@example.org\nSubject: s\n\nx"), subject, "s"),
    Case("a line of spaces in a field", lf("From: a@example.org\nSubject: s\n  \n t\n\nx"), subject, "s t"),
    Case("a field of 100 KB", lf("From: a@example.org\nX-A: " + "x" * 100_000 + "\nSubject: s\n\nx"), subject, "s"),
    Case("2,000 fields", lf("Subject: s\n" + "X: y\n" * 2000 + "From: a@example.org\n\nHello."), text, "Hello."),
    Case("a header of 1 MB", lf("Subject: s\n" + f"X: {'y' * 990}\n" * 1000 + "\nHello."), text, "Hello."),
    Case("two subjects", lf("Subject: one\nSubject: two\n\nx"), subject, "one"),
    Case("no message id", lf("From: a@example.org\n\nx"), lambda m: (m.made_id, len(m.id)), (True, 53)),
    Case("an empty message id", _message("Message-ID", "<>"), lambda m: m.made_id, True),
    Case(
        "an id of 2,000 characters",
        _message("Message-ID", f"<{'x' * 2000}@y>"),
        lambda m: (m.made_id, len(m.id)),
        (False, 53),
    ),
    Case("references: 12,000 of them", _message("References", "<a@b> " * 12_000), lambda m: m.references, ("a@b",)),
    Case(
        "references: 200 different ones",
        _message("References", " ".join(f"<{n}@b>" for n in range(200))),
        lambda m: (len(m.references), m.references[0], m.references[1], m.references[-1]),
        (100, "0@b", "101@b", "199@b"),
    ),
    Case(
        "references: encoded by CPython since they are long",
        _message("References", "=?utf-8?q?=3C" + "x" * 30 + "=40y=3E?=\n =?utf-8?q?_=3Cb=40c=3E?="),
        lambda m: m.references,
        ("x" * 30 + "@y", "b@c"),
    ),
    Case(
        "in-reply-to: words and an id",
        _message("In-Reply-To", "Your mail of today <a@b>"),
        lambda m: m.in_reply_to,
        ("a@b",),
    ),
    Case("in-reply-to: words only", _message("In-Reply-To", "Your mail of today"), lambda m: m.in_reply_to, ()),
    Case(
        "a relay gave it another id",
        _message("X-Microsoft-Original-Message-ID", "<old@x>"),
        lambda m: m.former_ids,
        ("old@x",),
    ),
    Case(
        "reply-to elsewhere",
        _message("Reply-To", "L <l@list.example>"),
        lambda m: [str(a) for a in m.reply_to],
        ["l@list.example"],
    ),
    Case("a sender beside the author", _message("Sender", "s@example.org"), lambda m: str(m.sender), "s@example.org"),
    Case("101 Received headers", lf("Received: x\n" * 101 + "From: a@example.org\n\nx"), lambda m: m.hops, 101),
    Case("a field named with UTF-8", lf("From: a@example.org\nÄ: b\nSubject: s\n\nx"), subject, ""),
]
