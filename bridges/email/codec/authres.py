"""Authentication-Results (RFC 8601): what another server found out. Pure; tolerant, bounded, never raises."""

import re
from dataclasses import dataclass
from typing import Final

from bridges.email.codec.outcomes import Result

LONGEST: Final = 16_384
_MOST: Final = 40
_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|\\.|.', re.DOTALL)
_PAIR: Final = re.compile(r'([A-Za-z0-9_./-]+)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;"]+)')
_POLICY: Final = re.compile(r"\bp\s*=\s*(none|quarantine|reject)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """One result: the method, what it gave, and its properties (`header.from`, `smtp.mailfrom` ...), lower case."""

    method: str
    result: Result
    properties: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """A property; empty where it is not there, or more than once."""
        values = [value for key, value in self.properties if key == name]
        return values[0] if len(values) == 1 else ""


@dataclass(frozen=True, slots=True)
class AuthResults:
    """Who says so, and what."""

    server: str
    found: tuple[Found, ...]
    policy: str = ""
    """The policy of DMARC, where it is told in a comment or property."""


def parse_results(text: str) -> AuthResults | None:
    """The value of a field in one line; None where it has no server."""
    text = text[:LONGEST]
    policy = _POLICY.search(text)
    sections = _sections(_without_comments(text))
    head = sections[0].split()
    if not head or "=" in head[0] or len(head) > 2:
        return None
    found = []
    for section in sections[1 : _MOST + 1]:
        pairs = [(name.lower(), _bare(value)) for name, value in _PAIR.findall(section)]
        if not pairs:
            continue
        method, result = pairs[0]
        found.append(Found(method.partition("/")[0], _result(result), tuple(pairs[1:])))
    return AuthResults(_bare(head[0]).lower(), tuple(found), policy[1].lower() if policy else "")


def _result(text: str) -> Result:
    try:
        return Result(text.lower())
    except ValueError:
        return Result.NONE


def _bare(value: str) -> str:
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value.strip('"'))
    return value.strip().strip("<>")


def _without_comments(text: str) -> str:
    """The text outside of parentheses; nesting is counted, not followed."""
    depth, kept = 0, []
    for found in _PIECE.finditer(text):
        piece = found[0]
        if depth and piece.startswith('"') and len(piece) > 1:
            # A quote means nothing within a comment: its parentheses count.
            for one in piece:
                depth += (one == "(") - (one == ")" and depth > 0)
        elif piece == "(":
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
            kept.append(" ")
        elif not depth:
            kept.append(piece)
    return "".join(kept)


def _sections(text: str) -> list[str]:
    sections = [""]
    pieces: list[str] = []
    for found in _PIECE.finditer(text):
        if found[0] == ";":
            sections[-1] = "".join(pieces)
            pieces = []
            sections.append("")
        else:
            pieces.append(found[0])
    sections[-1] = "".join(pieces)
    return sections
