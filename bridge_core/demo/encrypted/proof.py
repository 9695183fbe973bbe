"""What is stored of a conversation: found in a control room that is not encrypted, absent of the encrypted rooms."""

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bridge_core.api.demo import Crossing, DemoError, Event, Step, Way
from bridge_core.demo.encrypted.search import Found, needles, search
from bridge_core.demo.encrypted.user import EncryptedUser

__all__ = ["CONTROL", "Proof"]

CONTROL = "control"
"""The network of the control room, and its chat."""
_WAIT = 15.0
_MEGOLM = "m.room.encrypted"
_SPOKEN = {"m.room.message", "m.sticker", "m.poll.start"}


class Proof:
    """Searches the homeserver's folder (database, media, logs) and the bridge's (database, spool, logs).

    `before` is run first: it says in a control room what the same search then finds, so a search that finds nothing
    in the encrypted rooms has looked.
    """

    def __init__(self, homeserver: Path, bridge: Path, alice: EncryptedUser, control: str, bot: str) -> None:
        self._homeserver = homeserver
        self._bridge = bridge
        self._alice = alice
        self._control = control
        self._bot = bot

    def before(self) -> list[Step]:
        """The steps of the control room."""
        return self._steps(self.control_is_found)

    def after(self) -> list[Step]:
        """The steps once everything has been said."""
        return self._steps(self.only_ciphertext, self.absent_from_homeserver, self.absent_from_bridge)

    async def control_is_found(self) -> Crossing:
        """Text and file of the control room are found in database, media and log of the homeserver."""
        raw, room = self._alice.raw, self._control
        text, inside, logged = (f"control {what} {secrets.token_hex(10)}" for what in ("text", "file", "log"))
        logged = logged.replace(" ", "-")
        await raw.send(room, {"msgtype": "m.text", "body": text}, txn_id=logged)
        await raw.wait_for(
            lambda e: e["room_id"] == room and e["sender"] != raw.user_id and e["content"].get("body") == text,
            _WAIT,
            "the echo in the control room",
        )
        address = await raw.upload(inside.encode(), "text/plain", "control.txt")
        await raw.send(room, {"msgtype": "m.file", "body": "control.txt", "url": address})
        found = await _search(self._homeserver, [text, inside, logged])
        _must_be(found, text, "homeserver.db:event_json")
        _must_be(found, inside, "media/")
        _must_be(found, logged, "homeserver.log")
        seen = "; ".join(", ".join(sorted(found[one])) for one in (text, inside, logged))
        return Crossing(f"{text}; a file; {logged}", f"found in {seen}")

    async def only_ciphertext(self) -> Crossing:
        """As the homeserver tells them, the encrypted rooms hold no message in the clear."""
        counted = 0
        for room, events in (await self._timelines()).items():
            clear = [event for event in events if event["type"] in _SPOKEN]
            if clear:
                raise DemoError(f"{room} holds in the clear: {[event['content'] for event in clear[:3]]}")
            if not any(event["type"] == _MEGOLM for event in events):
                raise DemoError(f"nothing was said in {room}")
            counted += sum(event["type"] == _MEGOLM for event in events)
        return Crossing(f"{len(self._alice.rooms)} encrypted rooms", f"{counted} encrypted events, none in the clear")

    async def absent_from_homeserver(self) -> Crossing:
        """Nothing that was said is in the homeserver's database, media or logs; its ciphertext is."""
        cipher = [
            event["content"]["ciphertext"][:40]
            for events in (await self._timelines()).values()
            for event in events
            if event["type"] == _MEGOLM and "ciphertext" in event["content"]
        ]
        return await self._absent(self._homeserver, [cipher[0], cipher[-1]] if cipher else [], "homeserver")

    async def absent_from_bridge(self) -> Crossing:
        """Nothing that was said is in the bridge's database, files or logs; the rooms' names are."""
        return await self._absent(self._bridge, sorted(self._alice.rooms), "bridge")

    async def _absent(self, folder: Path, there: Sequence[str], who: str) -> Crossing:
        said = needles(self._alice.heard(without=self._bot))
        if not said or not there:
            raise DemoError("there is nothing to look for")
        found = await _search(folder, [*said, *there])
        for one in there:
            if not found[one]:
                raise DemoError(f"the search is blind: the {who} has to hold {one}")
        leaks = {one: sorted(found[one]) for one in said if found[one]}
        if leaks:
            raise DemoError(f"{len(leaks)} of {len(said)} are stored in the clear by the {who}: {leaks}")
        return Crossing(f"{len(said)} parts of texts and files", f"none is in what the {who} stores or logs")

    async def _timelines(self) -> dict[str, list[Event]]:
        return {room: await self._alice.raw.messages(room) for room in sorted(self._alice.rooms)}

    def _steps(self, *acts: Callable[[], Awaitable[Crossing]]) -> list[Step]:
        return [Step(getattr(act, "__name__", ""), Way.AT_REST, act) for act in acts]


async def _search(folder: Path, wanted: Sequence[str]) -> Found:
    try:
        return await asyncio.to_thread(search, folder, wanted)
    except sqlite3.Error as error:
        raise DemoError(f"a database below {folder} cannot be read: {error}") from error


def _must_be(found: Found, needle: str, place: str) -> None:
    if not any(place in one for one in found[needle]):
        raise DemoError(f"the search is blind: {needle!r} has to be in {place}, found: {sorted(found[needle])}")
