"""HTML made to hurt: it is read within the limits, in little time, or refused with the one narrow error."""

import pytest

from bridge_core.content.from_html import from_html
from bridge_core.content.limits import ContentLimitError, Limits
from bridge_core.content.matrix import message_text
from bridge_core.content.plain import words
from bridge_core.content.to_html import to_html

SIZE = 1_000_000  # fifteen events: what is quadratic takes the better part of an hour at this size

HOSTILE = {
    "100k nested elements": "<b>" * 100_000,
    "nested blocks": "<div>" * (SIZE // 5),
    "nested quotes": "<blockquote>" * (SIZE // 12),
    "nested tables": "<table><tr><td>" * (SIZE // 15),
    "nested lists": "<ul><li>" * (SIZE // 8),
    "open comments": "<!--" * (SIZE // 4),
    "open declarations": "<!" * (SIZE // 2),
    "open instructions": "<?" * (SIZE // 2),
    "open cdata": "<![CDATA[" * (SIZE // 9),
    "open quotes": '<a b="' * (SIZE // 6),
    "mixed open quotes": "<a b=\"<a b='" * (SIZE // 12),
    "many attributes": "<a " + " ".join(f"a{number}=1" for number in range(SIZE // 10)) + ">",
    "one attribute often": "<a " + "href=x " * (SIZE // 7) + ">",
    "long attribute": f'<a href="https://{"x" * SIZE}">a</a>',
    "open tag of spaces": "<a" + " " * SIZE,
    "less-than signs": "<" * SIZE,
    "entity bomb": "&amp;" * (SIZE // 5),
    "open entities": "&" + "a" * SIZE,
    "many open entities": ("&" + "a" * 31) * (SIZE // 32),
    "open numbers": "&#x" * (SIZE // 3),
    "number of a million digits": "&#" + "9" * SIZE + ";",
    "stray ends": "</b>" * (SIZE // 4),
    "ends beyond a border": "<b><blockquote>" + "<u>" * 90 + "</b>" * (SIZE // 4),
    "open scripts": "<script>" * (SIZE // 8),
    "script ends that are none": "<script>" + "</scrip" * (SIZE // 7),
    "open paragraphs": "<p><b>" * (SIZE // 6),
    "paragraphs in spans": "<u>" * 90 + "<p>x" * (SIZE // 4),
    "links in links": "<a href=x>" * (SIZE // 10),
    "crossed": "<p><i><u><b></p>" * (SIZE // 16),
    "spaces at every depth": ("<i>" * 50 + "x " + "</i>" * 50 + "<p>") * (SIZE // 354),
    "spans of 98 in lines": ("<b>" * 98 + "x " + "</b>" * 98 + "<br>") * (SIZE // 692),
    "wide": "<div>" * 90 + "x<i>y</i>" * (SIZE // 9),
    "spaces": " " * SIZE,
    "nul": "\x00" * SIZE,
    "surrogates": "\udfff" * SIZE,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("html", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_html_costs_no_more_than_its_length(html: str) -> None:
    """Read whole, or refused with the narrow error; what is quadratic in the input does not end within the bound."""
    try:
        text = from_html(html, Limits(chars=2 * SIZE))
    except ContentLimitError as error:
        assert "more than" in str(error)
    else:
        assert len(words(text)) <= len(html)
        assert len(to_html(text).body) <= 2 * len(html)


def test_number_of_thousands_of_digits_is_a_replacement_character() -> None:
    """`int` refuses such a number; the text is still read."""
    (node,) = from_html("&#" + "9" * 5_000 + ";")
    assert node.text == "\ufffd"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("html", "limits", "reason"),
    [
        ("x" * 11, Limits(chars=10), "longer than 10"),
        ("<i>" * 11, Limits(depth=10), "nested more than 10"),
        ("<br>" * 11, Limits(nodes=10), "more than 10 parts"),
    ],
)
def test_limit_is_named(html: str, limits: Limits, reason: str) -> None:
    """Reaching a limit raises the narrow error, which says which limit."""
    with pytest.raises(ContentLimitError, match=reason):
        from_html(html, limits)


def test_over_the_limit_the_plain_body_is_taken() -> None:
    """A formatted body over the limits costs the formatting, not the message."""
    content = {
        "msgtype": "m.text",
        "body": "plain",
        "format": "org.matrix.custom.html",
        "formatted_body": "<b>" * 1_000,
    }
    (node,) = message_text(content)
    assert node.text == "plain"  # type: ignore[union-attr]
