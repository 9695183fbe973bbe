"""Whether two regular expressions can match the same id, decided on their automata.

Covers literals, escapes, classes, groups, alternatives and quantifiers: all that namespaces use.
Look-around, back references and inline flags are outside; the caller then reports "may overlap".
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

# Characters are compared as one of 128 ASCII codes or "some other" (128): enough for Matrix ids.
_ALL = frozenset(range(129))
_DIGIT = frozenset(range(48, 58))
_WORD = _DIGIT | frozenset(range(65, 91)) | frozenset(range(97, 123)) | {95}
_SPACE = frozenset(b" \t\n\r\f\v")
_CLASSES = {"d": _DIGIT, "D": _ALL - _DIGIT, "w": _WORD, "W": _ALL - _WORD, "s": _SPACE, "S": _ALL - _SPACE}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_MAX_STATES = 4000  # of one automaton
_MAX_PAIRS = 20_000  # of the product: about a second at worst; namespaces need a few hundred


class Unsupported(ValueError):  # noqa: N818  (not a mistake of anybody: only outside what is decided here)
    """The expression uses something this module does not decide."""


@dataclass(slots=True)
class _Automaton:
    """States are numbers; state 0 is the start."""

    steps: list[list[tuple[frozenset[int], int]]] = field(default_factory=list)
    jumps: list[list[int]] = field(default_factory=list)

    def state(self) -> int:
        if len(self.steps) >= _MAX_STATES:
            raise Unsupported("too large")
        self.steps.append([])
        self.jumps.append([])
        return len(self.steps) - 1

    def step(self, states: frozenset[int], char: int) -> frozenset[int]:
        return self.closure({to for state in states for chars, to in self.steps[state] if char in chars})

    def closure(self, states: set[int]) -> frozenset[int]:
        seen, todo = set(states), list(states)
        while todo:
            for target in self.jumps[todo.pop()]:
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(seen)


class _Parser:
    """Recursive descent over one expression; builds its automaton as it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.automaton = _Automaton()
        self.open_end = True

    def parse(self) -> tuple[_Automaton, int]:
        start = self.automaton.state()
        end = self._alternatives(start, depth=0)
        if self.at != len(self.text):
            raise Unsupported("unbalanced parenthesis")
        if self.open_end:  # homeservers match from the start only: whatever follows is included
            self.automaton.steps[end].append((_ALL, end))
        return self.automaton, end

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _alternatives(self, start: int, depth: int) -> int:
        if depth > 20:
            raise Unsupported("nested too deeply")
        end = self.automaton.state()
        while True:
            branch = self.automaton.state()
            self.automaton.jumps[start].append(branch)
            self.automaton.jumps[self._sequence(branch, depth)].append(end)
            if self._peek() != "|":
                return end
            self.at += 1

    def _sequence(self, state: int, depth: int) -> int:
        while self._peek() not in ("", "|", ")"):
            if self._peek() == "^" and self.at == 0:
                self.at += 1
            elif self._peek() == "$" and self.at == len(self.text) - 1:
                self.at += 1
                self.open_end = False
            else:
                state = self._repeated(state, depth)
        return state

    def _repeated(self, state: int, depth: int) -> int:
        state = self._fresh(state)  # so that a loop back to it repeats this atom only
        atom_at = self.at
        end = self._atom(state, depth)
        low, high = self._quantifier()
        if (low, high) == (1, 1):
            return end
        behind = self.at
        # The first copy is already built; further copies are read again from the same text.
        for _ in range(low - 1):
            end = self._copy(atom_at, end, depth)
        if low == 0:
            skip = self.automaton.state()
            self.automaton.jumps[state].append(skip)
            self.automaton.jumps[end].append(skip)
            if high is None:
                self.automaton.jumps[end].append(state)
                self.at = behind
                return skip
            end = skip
        if high is None:
            again = self.automaton.state()
            self.automaton.jumps[end].append(again)
            back = self._copy(atom_at, again, depth)
            self.automaton.jumps[back].append(again)
            end = again
        else:
            for _ in range(high - max(low, 1)):
                optional = self._copy(atom_at, end, depth)
                self.automaton.jumps[end].append(optional)
                end = optional
        self.at = behind
        return end

    def _copy(self, atom_at: int, state: int, depth: int) -> int:
        self.at = atom_at
        return self._atom(self._fresh(state), depth)

    def _fresh(self, state: int) -> int:
        new = self.automaton.state()
        self.automaton.jumps[state].append(new)
        return new

    def _quantifier(self) -> tuple[int, int | None]:
        match = re.compile(r"[*+?]|\{(\d{1,3})?(,)?(\d{1,3})?\}").match(self.text, self.at)
        if match is None or match.group() in ("{}", "{,}"):
            return 1, 1
        self.at = match.end()
        if self._peek() in ("?", "+"):  # lazy and possessive match the same ids, or fewer
            self.at += 1
        kind = match.group()[0]
        if kind != "{":
            return (1 if kind == "+" else 0), (1 if kind == "?" else None)
        low, comma, high = match.groups()
        if not comma:
            return int(low), int(low)
        return int(low or 0), int(high) if high else None

    def _atom(self, state: int, depth: int) -> int:
        char = self._peek()
        self.at += 1
        if char == "(":
            if self.text.startswith("?:", self.at):
                self.at += 2
            elif self._peek() == "?":
                raise Unsupported("look-around, flags or named groups")
            end = self._alternatives(state, depth + 1)
            if self._peek() != ")":
                raise Unsupported("unbalanced parenthesis")
            self.at += 1
            return end
        end = self.automaton.state()
        self.automaton.steps[state].append((self._characters(char), end))
        return end

    def _characters(self, char: str) -> frozenset[int]:
        if char == ".":
            return _ALL
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape()
        if char in "^$*+?":
            raise Unsupported(f"{char} in the middle")
        return frozenset({min(ord(char), 128)})

    def _escape(self) -> frozenset[int]:
        char = self._peek()
        self.at += 1
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _CONTROLS:
            return frozenset({ord(_CONTROLS[char])})
        if not char or char.isalnum():
            raise Unsupported(f"\\{char}")
        return frozenset({min(ord(char), 128)})

    def _class(self) -> frozenset[int]:
        negated = self._peek() == "^"
        self.at += negated
        chars: set[int] = set()
        first = True
        while first or self._peek() != "]":
            first = False
            char = self._peek()
            self.at += 1
            if not char or (char == "[" and self._peek() == ":"):
                raise Unsupported("class")
            low = self._escape() if char == "\\" else frozenset({min(ord(char), 128)})
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                char = self._peek()
                self.at += 1
                high = self._escape() if char == "\\" else frozenset({min(ord(char), 128)})
                chars.update(range(min(low), max(high) + 1))
            else:
                chars |= low
        self.at += 1
        return _ALL - chars if negated else frozenset(chars)


def overlap(first: str, second: str) -> bool:
    """Whether some id matches both expressions from its start; raises `Unsupported`."""
    left, left_end = _Parser(first).parse()
    right, right_end = _Parser(second).parse()
    alphabet = _representatives(left, right)
    start = (left.closure({0}), right.closure({0}))
    seen = {start}
    todo = deque([start])
    while todo:
        a, b = todo.popleft()
        if left_end in a and right_end in b:
            return True
        for char in alphabet:
            following = (left.step(a, char), right.step(b, char))
            if following[0] and following[1] and following not in seen:
                if len(seen) > _MAX_PAIRS:
                    raise Unsupported("too large")
                seen.add(following)
                todo.append(following)
    return False


def _representatives(left: _Automaton, right: _Automaton) -> list[int]:
    """One character of each group that both automata treat alike."""
    sets = {chars for automaton in (left, right) for steps in automaton.steps for chars, _ in steps}
    groups = {tuple(char in chars for chars in sets): char for char in _ALL}
    return list(groups.values())
