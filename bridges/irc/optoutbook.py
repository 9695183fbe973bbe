"""Who of IRC opted out, and who said so: nobody else lifts it. Nicks belong to nobody for sure, so it is remembered."""

import asyncio
import json
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridge_core.api.ids import RemoteUserId
from bridges.irc import people

log = structlog.get_logger(__name__)
_PREFIX: Final = "optout/"
_KEPT_AT_MOST: Final = 10_000
"""Opt-outs of one network."""
_PER_HOST: Final = 20
"""Nicks that people of one host opt out without an account."""


@dataclass(frozen=True, slots=True)
class Sayer:
    """Who says it: the id of their account, empty without one, and where they are (`user@host`)."""

    account: str
    address: str

    @property
    def host(self) -> str:
        """The part that one person cannot make many of."""
        return self.address.rpartition("@")[2]

    def same(self, other: "Sayer") -> bool:
        """Whether they are the same: by account where there is one."""
        if self.account or other.account:
            return self.account == other.account
        return self.address == other.address


class OptOutBook:
    """The opt-outs of one network, stored. Its methods raise TransientError while they cannot be read or stored."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._said: dict[RemoteUserId, Sayer] | None = None
        self.turn = asyncio.Lock()
        """Held by whoever looks and then changes."""

    async def load(self) -> None:
        """Reads what was said before, once. What cannot be read is of nobody: nobody but its account lifts it."""
        if self._said is not None:
            return
        said = {}
        for key, value in (await self._host.kv.items(_PREFIX)).items():
            try:
                row = json.loads(value)
                sayer = Sayer(str(row["account"]), str(row["address"]))
            except (ValueError, TypeError, KeyError):
                log.warning("irc_optout_unreadable", network=self._host.network, key=key)
                sayer = Sayer("", "")
            said[RemoteUserId(key.removeprefix(_PREFIX))] = sayer
        self._said = said

    def refusal(self, person: RemoteUserId, by: Sayer) -> str:
        """Why somebody may not opt an id out now, in words; empty when they may."""
        assert self._said is not None, "not loaded"
        known = self._said.get(person)
        if known is not None:
            return "" if self._may_change(person, known, by) else "somebody else opted out that nick already"
        if len(self._said) >= _KEPT_AT_MOST:
            return "no more people can opt out here: ask the bridge's admin"
        if not by.account and sum(not one.account and one.host == by.host for one in self._said.values()) >= _PER_HOST:
            return f"{_PER_HOST} nicks were opted out from your host already: log in to an account and say it again"
        return ""

    def may_lift(self, person: RemoteUserId, by: Sayer) -> bool:
        """Whether somebody may opt an id in again: who opted it out, or the account of that name."""
        assert self._said is not None, "not loaded"
        known = self._said.get(person)
        return known is None or self._may_change(person, known, by)

    async def keep(self, person: RemoteUserId, by: Sayer) -> None:
        """Somebody opts an id out; call it before that is told."""
        assert self._said is not None, "not loaded"
        if person not in self._said:
            await self._host.kv.put(_PREFIX + person, json.dumps(asdict(by)).encode())
            self._said[person] = by

    async def lift(self, person: RemoteUserId) -> None:
        """It is lifted; call it once that is told."""
        assert self._said is not None, "not loaded"
        if person in self._said:
            await self._host.kv.put(_PREFIX + person, None)
            del self._said[person]

    def _may_change(self, person: RemoteUserId, known: Sayer, by: Sayer) -> bool:
        if by.account and by.account == (people.of_account(people.nick_of(person) or "") or person):
            return True  # it is the account's own id, or the nick of its name
        return bool(known.account or known.address) and known.same(by)
