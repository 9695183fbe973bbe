"""What must be true of what was said, what arrived, and what the journal counted."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from bridge_core.engine.ports import Direction
from bridge_core.journal.audit import Audit, Balance
from tests.crash.talk import Load, Said

_GAP = re.compile(r"Messages between (\S+ \S+) and (\S+ \S+) UTC may be missing here")
_SLACK = 2.0
"""Seconds that a line may be on its way before it is in the journal, on a loaded machine."""
_BOT = "@bridgebot:hs.test"


@dataclass(slots=True)
class Outage:
    """Something was killed or away, from `start` until the bridge was back in the channel."""

    what: str
    start: float
    end: float | None = None

    def covers(self, at: float) -> bool:
        """Whether something said then may have been lost on its way to the journal."""
        return self.start - _SLACK <= at <= (self.end or float("inf"))


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the bot said: a gap (its times) or a word about one event."""

    text: str
    about: str = ""
    since: float = 0.0
    until: float = 0.0

    @property
    def gap(self) -> bool:
        """Whether it tells of a gap."""
        return self.until > 0


def read_notices(events: Sequence[dict[str, Any]]) -> list[Notice]:
    """All that the bot said in a room."""
    found = []
    for event in events:
        if event["sender"] != _BOT or event["type"] != "m.room.message":
            continue
        content = event["content"]
        text = str(content.get("body", ""))
        about = content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id", "")
        match = _GAP.search(text)
        if match is None:
            found.append(Notice(text, about))
        else:
            # The text has whole seconds.
            found.append(Notice(text, about, _time(match[1]), _time(match[2]) + 1.0))
    return found


def _time(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


@dataclass(slots=True)
class Verdict:
    """What was said under one tag, and what arrived where."""

    tag: str
    said_matrix: list[Said]
    said_irc: list[Said]
    on_network: list[tuple[int, float]]
    on_matrix: list[int]
    notices: list[Notice]
    outages: list[Outage]
    unknown: str
    echoes: bool
    events_of_ghosts: int = 0
    bodies: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        load: Load,
        events: Sequence[dict[str, Any]],
        heard: list[tuple[int, float]],
        outages: list[Outage],
        unknown: str,
        network: str,
    ) -> Self:
        """Read both records."""
        tag = load.matrix.tag
        echoes = network == "echo"
        wanted = re.compile(rf"{'m' if echoes else 'i'}-{re.escape(tag)}-(\d{{4}})")
        on_matrix = []
        ghosts = 0
        for event in events:
            if event["type"] == "m.room.message" and event["sender"].startswith(f"@_{network}_"):
                ghosts += 1
                match = wanted.fullmatch(event["content"].get("body", ""))
                if match is not None:
                    on_matrix.append(int(match[1]))
        return cls(
            tag,
            list(load.matrix.said),
            list(load.irc.said) if load.irc is not None else [],
            heard,
            on_matrix,
            read_notices(events),
            list(outages),
            unknown,
            echoes,
            ghosts,
        )

    # What is derived

    def reported(self) -> set[int]:
        """Messages from Matrix whose sender was told that they did not, or may not have, arrived."""
        about = {notice.about for notice in self.notices}
        return {said.number for said in self.said_matrix if said.event in about}

    def lost_to_network(self) -> set[int]:
        """Accepted on Matrix, not seen on the network, nobody told."""
        arrived = set(self.on_matrix) if self.echoes else {number for number, _ in self.on_network}
        return {said.number for said in self.said_matrix} - arrived - self.reported()

    def doubled_on_network(self) -> dict[int, list[float]]:
        """Seen more than once on the network, and when."""
        times: dict[int, list[float]] = {}
        for number, at in self.on_network:
            times.setdefault(number, []).append(at)
        return {number: seen for number, seen in times.items() if len(seen) > 1}

    def doubled_on_matrix(self) -> set[int]:
        """Seen more than once on Matrix."""
        return {number for number, count in Counter(self.on_matrix).items() if count > 1}

    def missing_on_matrix(self) -> list[Said]:
        """Said on the network and not seen on Matrix."""
        arrived = set(self.on_matrix)
        return [said for said in self.said_irc if said.number not in arrived]

    def arrived(self) -> bool:
        """Whether the last words have arrived on both sides."""
        there = set(self.on_matrix) if self.echoes else {number for number, _ in self.on_network}
        if not self.said_matrix or self.said_matrix[-1].number not in there:
            return False
        return self.echoes or (bool(self.said_irc) and self.said_irc[-1].number in self.on_matrix)

    def complete(self) -> bool:
        """Whether the last words have arrived on both sides and everything else has arrived or is explained."""
        return self.arrived() and not self.lost_to_network() and (self.echoes or not self.unexplained())

    def unexplained(self) -> list[Said]:
        """Missing on Matrix outside of any outage, or without a gap notice that covers the time."""
        return [
            said
            for said in self.missing_on_matrix()
            if not any(outage.covers(said.at) for outage in self.outages)
            or not any(notice.since <= said.at <= notice.until for notice in self.notices if notice.gap)
        ]

    # What must hold

    def check(self) -> None:
        """All equations but those of the counters. Raises AssertionError."""
        numbers = {said.number for said in self.said_irc}
        assert not self.lost_to_network(), f"lost on the way to the network: {sorted(self.lost_to_network())}"
        assert not self.doubled_on_matrix(), f"doubled on Matrix: {sorted(self.doubled_on_matrix())}"
        assert self.on_matrix == sorted(self.on_matrix), f"out of order on Matrix: {self.on_matrix}"
        if self.echoes:
            assert not self.reported(), f"reported on a network that cannot lose: {self.reported()}"
            return
        assert set(self.on_matrix) <= numbers
        first = list(dict.fromkeys(number for number, _ in self.on_network))
        assert first == sorted(first), f"out of order on the network: {first}"
        missing = self.unexplained()
        assert not missing, f"missing on Matrix, unexplained: {missing}; {self.outages}; {self.gaps()}"
        self._check_doubt()

    def _check_doubt(self) -> None:
        doubles = self.doubled_on_network()
        if self.unknown == "report":
            assert not doubles, f"doubled on IRC though nothing is sent twice: {doubles}"
            for said in self.said_matrix:
                if said.number in self.reported():
                    # What was accepted after the last outage was never in doubt.
                    assert any(said.at <= (outage.end or float("inf")) for outage in self.outages), (
                        f"{said} was reported without a cause"
                    )
            return
        assert not self.reported(), f"reported though it was to be sent again: {self.reported()}"
        for number, times in doubles.items():
            # In doubt are only those sent before an outage and again after it.
            assert any(times[0] <= outage.start + _SLACK and outage.start <= times[-1] for outage in self.outages), (
                f"message {number} doubled without a cause, at {times}; {self.outages}"
            )

    def gaps(self) -> list[Notice]:
        """The gap notices."""
        return [notice for notice in self.notices if notice.gap]

    def numbers(self) -> str:
        """One line for the record."""
        kinds = Counter(outage.what for outage in self.outages)
        return (
            f"{self.tag}: outages {dict(kinds)}, from Matrix {len(self.said_matrix)} "
            f"(lost {len(self.lost_to_network())}, doubled on IRC {len(self.doubled_on_network())}, "
            f"reported {len(self.reported())}), from IRC {len(self.said_irc)} "
            f"(never accepted {len(self.missing_on_matrix())}, doubled on Matrix {len(self.doubled_on_matrix())})"
        )


@dataclass(frozen=True, slots=True)
class Books:
    """The journal's counters after the end."""

    audit: Audit
    network: str

    def of(self, direction: Direction, network: str = "") -> Balance:
        """One network's balance in one direction."""
        return self.audit.balances.get((network or self.network, int(direction)), Balance())

    def check(self, verdicts: Sequence[Verdict]) -> None:
        """The counters balance, nothing is pending or dead, and they equal what both witnesses saw.

        `verdicts` are all episodes of one bridge's life in one room, in order.
        """
        for key, balance in self.audit.balances.items():
            assert balance.holds, f"{key} does not balance: {balance}"
            assert balance.pending == balance.waiting == balance.dead == 0, f"{key} is not at rest: {balance}"
        out, back = self.of(Direction.TO_NETWORK), self.of(Direction.TO_MATRIX)
        said = sum(len(verdict.said_matrix) for verdict in verdicts)
        reported = sum(len(verdict.reported()) for verdict in verdicts)
        last = verdicts[-1]
        assert out.targets == said, f"{said} were said on Matrix: {out}"
        assert out.rejected == reported, f"{reported} were reported: {out}"
        assert out.delivered == said - reported, f"{said} said, {reported} reported: {out}"
        assert back.delivered == last.events_of_ghosts + len(last.gaps()), (
            f"{last.events_of_ghosts} events of ghosts, {len(last.gaps())} gaps: {back}"
        )
        own = self.of(Direction.TO_MATRIX, "_bridge")
        words = len(last.notices) - len(last.gaps())
        assert own.delivered == words, f"the bot said {words} things of its own: {own}"
