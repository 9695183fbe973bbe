"""Rules of moderation policy lists: read from state events, judged, and found again by whom they name."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bridge_core.api.ids import RoomId, UserId
from bridge_core.config.globs import Glob, is_glob

MOST_RULES: Final = 50_000
MOST_PATTERNS: Final = 2_000
"""Rules of one list that are kept, and how many of them may be patterns: those are tried one by one."""
_BAN: Final = ("m.ban", "org.matrix.mjolnir.ban")
_PORT: Final = re.compile(r":\d+$")


class RuleKind(StrEnum):
    """What a rule names."""

    USER = "user"
    SERVER = "server"
    ROOM = "room"


RULE_TYPES: Final[Mapping[str, RuleKind]] = {
    f"{prefix}.{kind.value}": kind
    for prefix in ("m.policy.rule", "m.room.rule", "org.matrix.mjolnir.rule")
    for kind in RuleKind
}
"""State types of rules (client-server API, moderation policy lists; the latter two from before it was specified)."""

RuleKey = tuple[str, str]
"""Type and state key: what makes a rule the successor of another."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule that bans. `entity` is a user id, server name, room id or alias, with `*` and `?` as wildcards."""

    kind: RuleKind
    entity: str
    reason: str = ""


def rule_of(event_type: str, content: Mapping[str, Any]) -> Rule | None:
    """The rule of a state event; None for one that was taken back, recommends something else, or cannot be read."""
    kind, entity, reason = RULE_TYPES.get(event_type), content.get("entity"), content.get("reason")
    if kind is None or content.get("recommendation") not in _BAN or not isinstance(entity, str) or not entity:
        return None
    try:
        Glob.parse(entity)
    except ValueError:
        return None  # too long or too intricate: no such name exists, and no such pattern is tried
    return Rule(kind, entity, reason[:200] if isinstance(reason, str) else "")


class TooBroad:
    """Whether a rule would shut out those without whom there is no bridge: everybody, our own, admins.

    Everybody is tried with names that hold every character there is and mean nothing, so that only a rule that asks
    for nothing matches them.
    """

    def __init__(self, domain: str, protected: Iterable[UserId], ghost: Callable[[str], Iterable[UserId]]) -> None:
        anybody, anywhere = "qzjxkvbwfygpmhdulcsnritoae0192837465-_.=", "qzjxkvbw-fygpmhdulc.snritoae0192837465.invalid"
        self._names = {
            RuleKind.USER: [
                (f"@{anybody}:{anywhere}", "everybody"),
                (f"@{anybody}:{domain}", "everybody here"),
                *((user, "a network's every ghost") for user in ghost(anybody)),
                *((user, user) for user in protected),
            ],
            RuleKind.SERVER: [
                (anywhere, "every server"),
                *((name, "our own server") for name in server_names(domain)),
                *((name, user) for user in protected for name in server_names(user.partition(":")[2])),
            ],
            RuleKind.ROOM: [(f"!{anybody}:{anywhere}", "every room"), (f"#{anybody}:{anywhere}", "every room")],
        }

    def whom(self, rule: Rule) -> str:
        """Whom it would shut out; empty when it may be followed."""
        glob = Glob.parse(rule.entity)
        return next((whom for name, whom in self._names[rule.kind] if glob.matches(name)), "")


def server_names(server: str) -> tuple[str, ...]:
    """A server's name as rules may write it: ports do not count."""
    bare = _PORT.sub("", server)
    return (server,) if bare == server else (server, bare)


class RuleBook:
    """The rules of one list. Finding one costs a dictionary look-up, and a try of each pattern."""

    def __init__(self) -> None:
        self.rules: dict[RuleKey, Rule] = {}
        self._exact: dict[tuple[RuleKind, str], dict[RuleKey, Rule]] = {}
        self._globs: dict[RuleKind, dict[RuleKey, Glob]] = {kind: {} for kind in RuleKind}

    def put(self, key: RuleKey, rule: Rule | None) -> bool:
        """Take a rule up, or (None) out; False when there is no room for it."""
        before = self.rules.pop(key, None)
        if before is not None:
            self._globs[before.kind].pop(key, None)
            same = self._exact.get((before.kind, before.entity.lower()), {})
            same.pop(key, None)
            if not same:
                self._exact.pop((before.kind, before.entity.lower()), None)
        if rule is None:
            return True
        if len(self.rules) >= MOST_RULES:
            return False
        if is_glob(rule.entity):
            if sum(map(len, self._globs.values())) >= MOST_PATTERNS:
                return False
            self._globs[rule.kind][key] = Glob.parse(rule.entity)
        else:
            self._exact.setdefault((rule.kind, rule.entity.lower()), {})[key] = rule
        self.rules[key] = rule
        return True

    def find(self, kind: RuleKind, names: Iterable[str]) -> Rule | None:
        """A rule that names one of these."""
        names = tuple(names)
        for name in names:
            same = self._exact.get((kind, name.lower()))
            if same:
                return next(iter(same.values()))
        for key, glob in self._globs[kind].items():
            if any(glob.matches(name) for name in names):
                return self.rules[key]
        return None

    def against(self, user: str) -> Rule | None:
        """A rule against a user or their server."""
        server = user.partition(":")[2]
        return self.find(RuleKind.USER, (user,)) or self.find(RuleKind.SERVER, server_names(server))

    def against_room(self, room: RoomId, aliases: Iterable[str]) -> Rule | None:
        """A rule against a room, by its id or one of its aliases."""
        return self.find(RuleKind.ROOM, (room, *aliases))
