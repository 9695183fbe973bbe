"""Which tables of HTML mails are tables, and which only put things in their places."""

from typing import Final

from bridges.email.parsing.dom import Element

_MOST_COLUMNS: Final = 12
_LONGEST_CELL: Final = 200
_LAYOUT: Final = frozenset({"table", "img", "blockquote", "ul", "ol", "pre", "h1", "h2", "h3", "hr"})


def rows_of(table: Element) -> list[list[Element]]:
    """The rows of a table, each its cells."""
    rows: list[list[Element]] = []
    for child in table.children:
        if isinstance(child, Element):
            if child.tag == "tr":
                rows.append([cell for cell in child.children if isinstance(cell, Element) and cell.tag in ("td", "th")])
            elif child.tag in ("tbody", "thead", "tfoot"):
                rows.extend(rows_of(child))
    return [row for row in rows if row]


def is_data(table: Element) -> bool:
    """Whether a table is one: several rows and columns of short texts, with nothing large in its cells."""
    if table.get("role").lower() == "presentation":
        return False
    rows = rows_of(table)
    if len(rows) < 2 or not 2 <= max(map(len, rows)) <= _MOST_COLUMNS:
        return False
    if any(isinstance(node, Element) and node.tag in _LAYOUT for node in table.walk()):
        return False
    cells = [cell for row in rows for cell in row]
    if any(len(cell.text()) > _LONGEST_CELL for cell in cells):
        return False
    if any(cell.tag == "th" for cell in cells) or table.get("border") not in ("", "0"):
        return True
    return sum(len(row) >= 2 for row in rows) * 2 > len(rows) and all(
        cell.text().strip() for row in rows for cell in row[:1]
    )
