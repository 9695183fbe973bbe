"""Commands of admins about the bridge's own state: users, the journal, links to files."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import EventId, RoomId
from bridge_core.content.addresses import is_mxc
from bridge_core.engine.commands.command import Answer, Asks, Call, Command, Run, UsageError
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.desk import Desk, DeskEntry
from bridge_core.engine.links import LinkLedger
from bridge_core.engine.networks import Networks
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.store_ports import Users

TOPIC: Final = "Administration"
_SHOWN: Final = 50
_AT_ONCE: Final = 500


class AdminCommands:
    """users, journal ..., media revoke."""

    def __init__(
        self,
        commands: Commands,
        desk: Desk,
        ledger: LinkLedger,
        users: Users,
        networks: Networks,
        permissions: Permissions,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._users = users
        self._networks = networks
        self._permissions = permissions
        admin = Permission.ADMIN

        def add(name: str, arguments: str, help_: str, run: Run, asks: Asks | None = None) -> None:
            commands.add(Command(name, arguments, help_, admin, run, TOPIC, private=True, asks=asks))

        add("users", "[WHO]", "users with a management room or logins", self._list_users)
        add("journal list", "[STATE] [NETWORK] [AFTER]", "entries that are dead (or pending, done)", self._list)
        add("journal show", "ID", "one entry and its deliveries, without what is in it", self._show)
        add("journal replay", "IDS...", "let dead entries (by id, or all) be tried again", self._replay)
        add("journal drop", "IDS...", "end dead entries (by id, or all) as rejected", self._drop, self._drop_follows)
        words = "end the links to a file (mxc://) or of a message"
        add("media revoke", "FILE_OR_ROOM [EVENT]", words, self._revoke, self._revoke_follows)

    async def _list_users(self, call: Call) -> Answer:
        wanted = call.get("who").lower()
        known: dict[str, list[str]] = {row.id: [] for row in await self._users.with_rooms()}
        for network in self._networks:
            for login in network.logins():
                known.setdefault(login.user, []).append(f"{network.id}: {login.name}{', provided' * login.provided}")
        chosen = {user: logins for user, logins in sorted(known.items()) if wanted in user.lower()}
        lines = [
            f"{user} ({self._permissions.of(user).name.lower()}) {'; '.join(logins[:10])}".rstrip()  # type: ignore[arg-type]
            for user, logins in list(chosen.items())[:_SHOWN]
        ]
        more = [f"... and {len(chosen) - _SHOWN} more: users WHO shows some"] if len(chosen) > _SHOWN else []
        data = [{"user": user, "logins": logins} for user, logins in chosen.items()]
        return Answer("\n".join(lines + more) or "None.", {"users": data})

    async def _list(self, call: Call) -> Answer:
        state, after = call.get("state", "dead").lower(), call.get("after", "0")
        if state not in ("dead", "pending", "done") or not after.isdecimal():
            raise UsageError("write it as: journal list [dead|pending|done] [NETWORK] [AFTER]")
        network = call.get("network") or None
        found = await self._desk.entries(state, None if network == "all" else network, int(after[:18]), _SHOWN + 1)
        lines = [_line(one) for one in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"... more: journal list {state} {network or 'all'} {found[_SHOWN - 1].id}")
        return Answer("\n".join(lines) or "None.", {"entries": [_data(one) for one in found[:_SHOWN]]})

    async def _show(self, call: Call) -> Answer:
        found = await self._desk.entry(_ids(call["id"])[0])
        if found is None:
            raise RejectedError("there is no such entry")
        entry, deliveries = found
        lines = [_line(entry), f"attempts {entry.attempts}"]
        lines += [f"  delivery {one.id} {one.state} {one.network} {one.attempts} {one.error}" for one in deliveries]
        return Answer("\n".join(lines), {**_data(entry), "deliveries": [_plain(one) for one in deliveries]})

    async def _replay(self, call: Call) -> Answer:
        wanted = await self._dead(call["ids"])
        done = [one.id for one in await self._desk.replay(wanted)]
        return _acted(wanted, done, "tried again")

    async def _drop_follows(self, call: Call) -> str:
        wanted = await self._dead(call["ids"])
        if not wanted:
            return ""
        return f"{len(wanted)} entries shall be dropped: what is in them is erased, and they can never be sent again."

    async def _drop(self, call: Call) -> Answer:
        wanted = await self._dead(call["ids"])
        return _acted(wanted, await self._desk.drop(wanted), "dropped")

    async def _dead(self, text: str) -> Sequence[int]:
        if text.lower() != "all":
            return _ids(text)
        return [one.id for one in await self._desk.entries("dead", None, 0, _AT_ONCE)]

    async def _revoke_follows(self, call: Call) -> str:
        if not call.get("event") and not is_mxc(call["file_or_room"]):
            return ""
        return "Links to these files shall end for good, those that networks have been sent and any later ones."

    async def _revoke(self, call: Call) -> Answer:
        what, event = call["file_or_room"], call.get("event")
        if not event:
            await self._ledger.revoke_file(what)
            return Answer("Links to this file work no more.", {"files": 1})
        count = await self._ledger.revoke_event(RoomId(what), EventId(event))
        return Answer(f"Links to {count} files work no more.", {"files": count})


def _ids(text: str) -> list[int]:
    words = text.split()
    if len(words) > _AT_ONCE or any(not word.isdecimal() or len(word) > 18 for word in words):
        raise UsageError(f"name entries by their numbers, at most {_AT_ONCE} of them")
    return [int(word) for word in words]


def _acted(wanted: Sequence[int], done: Sequence[int], what: str) -> Answer:
    missing = [entry for entry in wanted if entry not in set(done)]
    text = f"{len(done)} entries are {what}." if done else f"No entry is {what}."
    if missing:
        text += f" Not there, or not dead: {', '.join(map(str, missing[:20]))}."
    return Answer(text, {"entries": list(done)})


def _line(one: DeskEntry) -> str:
    when = datetime.fromtimestamp(one.received_at / 1000, UTC).isoformat(sep=" ", timespec="seconds")
    lane = " ".join(part for part in one.lane.split("\x1f") if part)
    return f"{one.id} {one.state} {one.direction.name.lower()} {one.network} {when} {lane} {one.error}".rstrip()


def _data(one: DeskEntry) -> dict[str, object]:
    return {
        "id": one.id,
        "state": one.state,
        "direction": one.direction.name.lower(),
        "network": one.network,
        "lane": one.lane,
        "received_at": one.received_at,
        "attempts": one.attempts,
        "error": one.error,
    }


def _plain(one: object) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("id", "network", "state", "attempts", "error")}
