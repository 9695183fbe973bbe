"""What a mail says, in plain words and as HTML: of texts, places, polls, corrections and reactions. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from bridge_core.api.content import (
    Colored,
    Content,
    Kind,
    Link,
    Location,
    Math,
    Mention,
    Node,
    Picture,
    Plain,
    Poll,
    Quote,
    RichText,
    RoomMention,
    Span,
    Spoiler,
    Style,
)
from bridge_core.content import to_html, to_plain
from bridge_core.content.to_html import escaped
from bridge_core.content.tree import changed
from bridges.email.ports import Draft

_COLORED: Final = re.compile(r'<span((?: data-mx-(?:bg-)?color="#[0-9a-f]{6}")+)>')
_QUOTED: Final = 500
"""Characters of an excerpt of what is answered."""


@dataclass(frozen=True, slots=True)
class Words:
    """A text twice: `html` is the inside of a body."""

    plain: str
    html: str


def words_of(draft: Draft, further: RichText = (), *, map_links: bool = True) -> Words:
    """All that the draft says, with `further` below it (links to files that are too large)."""
    text = _said(draft.content, draft.author.name, map_links=map_links)
    if draft.redacts:
        text = (Plain("I take back my earlier mail. Please disregard it."),)
    elif draft.edits:
        text = (Plain("Correction: "), *text)
    elif draft.reacts:
        text = (Plain(f"reacted with {draft.reacts}"),)
    if draft.quoted.strip() and not (draft.redacts or draft.reacts):
        excerpt = draft.quoted.strip()
        short = excerpt if len(excerpt) <= _QUOTED else f"{excerpt[:_QUOTED].rsplit(None, 1)[0]} [...]"
        text = (Quote((Plain(short),)), *text)
    if further:
        text = (*text, *((Plain("\n\n"),) if text else ()), *further)
    return Words(to_plain(changed(text, _plainly)), _html(changed(text, _for_html)))


def _said(content: Content, name: str, *, map_links: bool) -> RichText:
    text = content.text
    if content.kind is Kind.EMOTE:
        text = (Plain(f"* {name} "), *text)
    if content.poll is not None and not text:
        text = _poll(content.poll)
    if content.location is not None:
        text = (*text, *((Plain("\n"),) if text else ()), *_place(content.location, map_links=map_links))
    return text


def _poll(poll: Poll) -> RichText:
    answers = "\n".join(f"{number}. {answer.text}" for number, answer in enumerate(poll.answers, 1))
    return (Plain(f"{poll.question}\n{answers}"),)


def _place(place: Location, *, map_links: bool) -> RichText:
    at = f"{place.latitude:.6f},{place.longitude:.6f}"
    found: list[Node] = [Plain(f"{place.description}\n")] if place.description else []
    found.append(Plain(f"geo:{at}"))
    if map_links:
        latitude, longitude = f"{place.latitude:.6f}", f"{place.longitude:.6f}"
        url = f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}#map=16/{latitude}/{longitude}"
        found += [Plain("\n"), Link(url, ())]
    return tuple(found)


def _plainly(node: Node) -> RichText | None:
    """What no mail program knows, in words."""
    match node:
        case Mention():
            return (Plain(f"@{node.name.removeprefix('@')}"),)
        case RoomMention():
            return (Plain(node.name),)
        case Picture():
            return (Plain(node.alt),)
    return None


def _for_html(node: Node) -> RichText | None:
    match node:
        case Spoiler():
            reason = f" ({node.reason})" if node.reason else ""
            # Mail programs run nothing: what is hidden is black on black until it is marked.
            return (
                Plain(f"[spoiler{reason}: "),
                Colored("000000", "000000", changed(node.children, _for_html)),
                Plain("]"),
            )
        case Math():
            return (Span(Style.CODE, (Plain(node.latex),)),)
    return _plainly(node)


def _html(text: RichText) -> str:
    rendered = to_html(text)
    html = rendered.html if rendered.html is not None else escaped(rendered.body)
    return _COLORED.sub(lambda found: f'<span style="{_style(found[1])}">', html)


def _style(attributes: str) -> str:
    found = dict(re.findall(r'data-mx-((?:bg-)?color)="(#[0-9a-f]{6})"', attributes))
    names = {"color": "color", "bg-color": "background-color"}
    return ";".join(f"{names[key]}:{value}" for key, value in found.items())
