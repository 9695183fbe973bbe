"""Invitations made readable (RFC 5545, 5546): what, when with its time zone, where, who."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any, Final

from bridges.email.parsing.names import shown
from bridges.email.parsing.plaintext import printable

_LARGEST: Final = 262_144
_MOST_EVENTS: Final = 5
_MOST_PEOPLE: Final = 10
_LONGEST: Final = 1500
_METHODS: Final = {
    "REQUEST": "Invitation",
    "CANCEL": "Cancelled",
    "REPLY": "Answer to an invitation",
    "PUBLISH": "Event",
    "COUNTER": "Another time is proposed",
    "DECLINECOUNTER": "The proposed time is declined",
    "ADD": "Further dates",
    "REFRESH": "The invitation is asked for again",
}
_ANSWERS: Final = {"ACCEPTED": "accepts", "DECLINED": "declines", "TENTATIVE": "may come", "DELEGATED": "sends another"}


def describe(text: str, method: str = "") -> str:
    """The calendar in words, some lines for each of the first five events; empty where it holds none. Never raises."""
    if len(text) > _LARGEST or "BEGIN:V" not in text.upper():
        return ""
    from icalendar import Calendar  # takes 150 ms, and few mails need it

    try:
        calendar = Calendar.from_ical(text)
        method = str(calendar.get("METHOD", method) or method).upper()
        events = [one for one in calendar.walk() if one.name in ("VEVENT", "VTODO")][:_MOST_EVENTS]
        return "\n\n".join("\n".join(_lines(event, method)) for event in events)
    except Exception:
        # The library's parsers raise whatever a stranger's line makes them stumble over.
        return ""


def _lines(event: Any, method: str) -> Iterator[str]:
    title = _text(event, "SUMMARY", 200) or "(no title)"
    status = str(event.get("STATUS", "")).upper()
    kind = "Cancelled" if status == "CANCELLED" else _METHODS.get(method, "Event")
    yield f"{kind}: {title}"
    if when := _when(event):
        yield f"When: {when}"
    if event.get("RRULE") is not None:
        yield f"Repeats: {_rule(event)}"
    if where := _text(event, "LOCATION", 300):
        yield f"Where: {where}"
    if organizer := event.get("ORGANIZER"):
        yield f"From: {_person(organizer)}"
    people = event.get("ATTENDEE", [])
    people = people if isinstance(people, list) else [people]
    if people and method == "REPLY":
        for person in people[:_MOST_PEOPLE]:
            state = str(person.params.get("PARTSTAT", "")).upper()
            yield f"{_person(person)} {_ANSWERS.get(state, 'has not answered')}"
    elif people:
        more = f" and {len(people) - _MOST_PEOPLE} more" if len(people) > _MOST_PEOPLE else ""
        yield f"Who: {', '.join(_person(person) for person in people[:_MOST_PEOPLE])}{more}"
    if description := _text(event, "DESCRIPTION", _LONGEST, lines=True):
        yield description


def _text(event: Any, name: str, longest: int, *, lines: bool = False) -> str:
    value = event.get(name, "")
    value = value[0] if isinstance(value, list) and value else value
    text = str(value)[: 4 * longest]
    return printable(text).strip()[:longest] if lines else shown(text, longest)


def _person(value: Any) -> str:
    address = shown(str(value), 254)
    address = address[7:] if address.lower().startswith("mailto:") else address
    name = shown(str(value.params.get("CN", "")), 100) if hasattr(value, "params") else ""
    return f"{name} <{address}>" if name and name != address else address


def _when(event: Any) -> str:
    start = _moment(event, "DTSTART") or _moment(event, "DUE")
    if start is None:
        return ""
    end = _moment(event, "DTEND")
    if end is None and event.get("DURATION") is not None:
        length = event.decoded("DURATION")
        end = start + length if isinstance(length, timedelta) else None
    if not isinstance(start, datetime):
        last = end - timedelta(days=1) if end is not None and not isinstance(end, datetime) else start
        return _day(start) if last <= start else f"{_day(start)} to {_day(last)}"
    said = f"{_day(start)} {start:%H:%M}"
    if isinstance(end, datetime):
        same = end.date() == start.date() and end.utcoffset() == start.utcoffset()
        said += f" to {end:%H:%M}" if same else f" to {_day(end)} {end:%H:%M}"
    return f"{said} ({_zone(event, start)})"


def _moment(event: Any, name: str) -> Any:
    return event.decoded(name) if event.get(name) is not None else None


def _day(when: date) -> str:
    return f"{when:%a} {when.day} {when:%b %Y}"


def _zone(event: Any, when: datetime) -> str:
    """The zone as the calendar names it, with its distance from UTC."""
    offset = when.utcoffset()
    given = event["DTSTART"].params.get("TZID", "") if event.get("DTSTART") is not None else ""
    if offset is None:
        return shown(str(given), 60) or "local time"
    minutes = int(offset.total_seconds() // 60)
    utc = "UTC" if not minutes else f"UTC{'+' if minutes > 0 else '-'}{abs(minutes) // 60}:{abs(minutes) % 60:02d}"
    return f"{shown(str(given), 60)}, {utc}" if given and str(given).upper() != "UTC" else utc


def _rule(event: Any) -> str:
    rule = event["RRULE"]
    rule = rule[0] if isinstance(rule, list) else rule
    how = str((rule.get("FREQ") or [""])[0]).lower()
    every = int((rule.get("INTERVAL") or [1])[0])
    said = how if every == 1 else f"{how}, every {every}"
    if days := rule.get("BYDAY"):
        said += f" on {', '.join(shown(str(day), 5) for day in list(days)[:7])}"
    if until := rule.get("UNTIL"):
        said += f" until {_day(until[0])}"
    elif count := rule.get("COUNT"):
        said += f", {int(count[0])} times"
    return said
