"""Any bytes are a mail: read without raising, valid, bounded, with nothing in it that leads elsewhere."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_core.content import words
from bridges.email.parsing.addresslist import parse_addresses
from bridges.email.parsing.calendar import describe
from bridges.email.parsing.charsets import Decoder
from bridges.email.parsing.dom import Limits
from bridges.email.parsing.headers import split
from bridges.email.parsing.html import html_tree
from bridges.email.parsing.ids import date_ms, ids
from bridges.email.parsing.parameters import parse_value
from bridges.email.parsing.plaintext import plain_tree, printable
from bridges.email.parsing.tnef import parse_tnef
from bridges.email.parsing.transfer import decode
from bridges.email.parsing.trimming import trim, unmarked
from bridges.email.parsing.words import decode_words
from tests.fuzz.email import check, corpus, damaged

MAILS = corpus()
_odd = st.text(st.sampled_from(" \t\r\n\0<>@()\"\\,;:=?*'[]%&abcu-/\u202e\ufdd0\xff\ud7ff."), max_size=120)
_html = st.lists(
    st.sampled_from(
        [
            "<p>",
            "</p>",
            "<div class=gmail_quote>",
            "</div>",
            "<blockquote>",
            "</blockquote>",
            "<a href='http://x.y'>",
            "</a>",
            "<table border=1>",
            "<tr>",
            "<td>",
            "</table>",
            "<img src=cid:a>",
            "<img src=//x.y>",
            "<b>",
            "</b>",
            "a",
            " ",
            "&lt;",
            "<br>",
            "<pre>",
            "</pre>",
            "<ul>",
            "<li>",
            "</ul>",
            "<div hidden>",
            "<!--",
            "-->",
            "<hr>",
            "<p style='display:none'>",
            "wrote:",
            "-- ",
            "On 1.1.2026",
            "&#xfdd0;",
            "<div id=divRplyFwdMsg>",
            "<th>",
            "<h1>",
            "</h1>",
            "<span>",
            "</span>",
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=150)
@given(st.binary(max_size=2000))
def test_any_bytes_are_a_mail(data: bytes) -> None:
    """Bytes of no form at all are read."""
    check(data)


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_damaged_mails_are_read(seed: int) -> None:
    """Mails of the corpus with some things wrong are read as promised."""
    check(damaged(random.Random(seed), MAILS))


@settings(max_examples=150)
@given(_html)
def test_any_html_is_a_text(text: str) -> None:
    """Elements in any order are a tree, which is trimmed without losing all of it."""
    tree = html_tree(text, {"a": 0}, Limits()).text
    new = trim(tree)
    assert words(new.text).strip() or not words(unmarked(tree)).strip()


@settings(max_examples=150)
@given(_odd)
def test_any_header_is_read(text: str) -> None:
    """No value of a header raises."""
    for address in parse_addresses(text):
        assert "@" in str(address)
        assert address.name.isprintable()
    value, parameters = parse_value(text)
    assert value == value.lower()
    assert all(isinstance(one, str) for one in parameters.values())
    assert all("<" not in one for one in ids(text))
    date_ms(text, 0)
    decode_words(text)
    plain_tree(printable(text), flowed=True, delsp=True)


@settings(max_examples=100)
@given(
    st.binary(max_size=300),
    st.sampled_from(["base64", "quoted-printable", "x-uuencode", ""]),
    st.sampled_from(["utf-7", "utf-16", "iso-2022-jp", "hz", "x", "cp932", "utf-8", ""]),
)
def test_any_body_is_decoded(data: bytes, encoding: str, label: str) -> None:
    """No bytes raise, whatever they are said to be."""
    Decoder(0).decode(decode(data, encoding), label).encode()
    split(data, 0, len(data))
    parse_tnef(b"\x78\x9f\x3e\x22\0\0" + data)


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [
                "BEGIN:VEVENT",
                "END:VEVENT",
                "DTSTART:20260101T100000Z",
                "DTEND:x",
                "RRULE:FREQ=x",
                "SUMMARY:a",
                "ATTENDEE;CN=:",
                "DURATION:-P1D",
                "DTSTART;TZID=x:20260101T100000",
                ":;=",
            ]
        ),
        max_size=12,
    )
)
def test_any_calendar_is_described(lines: list[str]) -> None:
    """No calendar raises."""
    describe("\r\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR"]))
