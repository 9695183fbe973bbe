"""A small raw Matrix client: the witness of demos and tests.

It shares no code with the bridge and uses no Matrix library, so what it sees is what a person's client would
see. It keeps no background task: /sync is asked while somebody waits, and a gap in a timeline is filled from
/messages, so no event of a joined room is missed however rarely it is asked, over restarts of the homeserver too.

Source: Client-Server API v1.11 and later (authenticated media).
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from bridge_core.demo.person import Person

__all__ = ["Event", "MatrixClient", "MatrixError"]

Event = dict[str, Any]
_PAUSE = 0.1
_POLL_MS = 5_000
_FILTER = '{"room":{"timeline":{"limit":200},"state":{"lazy_load_members":false}}}'


class MatrixError(Exception):
    """The homeserver refused a request."""

    def __init__(self, status: int, errcode: str, message: str) -> None:
        super().__init__(f"{status} {errcode}: {message}")
        self.status = status
        self.errcode = errcode


class MatrixClient(Person):
    """One logged-in device.

    `events` holds every timeline event seen, in the order seen, each with its `room_id`; `ephemeral` typing
    and receipts likewise; `invites` maps a room to its stripped state until it is joined or left.
    Every call raises MatrixError when refused and aiohttp.ClientError or TimeoutError when nobody answers.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.user_id = ""
        self.events: list[Event] = []
        self.ephemeral: list[Event] = []
        self.invites: dict[str, list[Event]] = {}
        self._token = token
        self._since = ""
        self._known: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._syncing = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._run = secrets.token_hex(4)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Learns who it is and takes in what the rooms hold so far."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self.user_id = str((await self.request("GET", "/v3/account/whoami"))["user_id"])
        await self.sync(0)

    async def close(self) -> None:
        """Closes the connections; the device stays logged in."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- seeing -------------------------------------------------------------------------------------------

    async def sync(self, wait_ms: int = 0) -> None:
        """Takes in what is new, waiting up to `wait_ms` for it. Cancelling it loses nothing."""
        async with self._syncing:
            query = {"timeout": str(wait_ms), "filter": _FILTER}
            if self._since:
                query["since"] = self._since
            answer = await self.request("GET", "/v3/sync", query=query)
            rooms = answer.get("rooms", {})
            gaps = {}
            for room, content in [*rooms.get("join", {}).items(), *rooms.get("leave", {}).items()]:
                timeline = content.get("timeline", {})
                # A gap in a room seen for the first time is its past.
                if timeline.get("limited") and timeline.get("prev_batch"):
                    gaps[room] = await self._before(room, timeline["prev_batch"])
            # From here on nothing awaits: all of an answer is taken in, or none.
            for room, content in rooms.get("join", {}).items():
                self.invites.pop(room, None)
                self._take(room, gaps.get(room, []) + content.get("timeline", {}).get("events", []))
                self.ephemeral += [{**event, "room_id": room} for event in _list(content, "ephemeral")]
            for room, content in rooms.get("leave", {}).items():
                self.invites.pop(room, None)
                self._take(room, gaps.get(room, []) + content.get("timeline", {}).get("events", []))
            for room, content in rooms.get("invite", {}).items():
                self.invites[room] = _list(content, "invite_state")
            self._since = str(answer["next_batch"])

    def timeline(self, room: str) -> list[Event]:
        """Returns the events of one room seen so far, in order."""
        return [event for event in self.events if event["room_id"] == room]

    async def _more(self) -> None:
        """Syncs; a homeserver that is away meanwhile is asked again."""
        try:
            await self.sync(_POLL_MS)
        except (aiohttp.ClientError, MatrixError):
            await asyncio.sleep(_PAUSE)

    def _last(self) -> str:
        return f"last: {[(event.get('sender'), event.get('type'), event.get('content')) for event in self.events[-5:]]}"

    async def wait_for(self, predicate: Callable[[Event], bool], timeout: float = 60, what: str = "an event") -> Event:
        """Returns the first event (of all seen so far and to come) that fits; raises TimeoutError."""
        return await self.wait_until(
            lambda: next((event for event in self.events if predicate(event)), None), timeout, what
        )

    async def wait_for_message(self, room: str, body: str, *, sender: str | None = None, timeout: float = 60) -> Event:
        """Returns the first m.room.message in a room whose body is exactly `body`; raises TimeoutError."""
        return await self.wait_for(
            lambda event: (
                event["room_id"] == room
                and event["type"] == "m.room.message"
                and event["content"].get("body") == body
                and (sender is None or event["sender"] == sender)
            ),
            timeout,
            f"{body!r} in {room}",
        )

    async def wait_for_invite(self, timeout: float = 60, *, sender: str | None = None) -> str:
        """Returns a room this user is invited to, by `sender` if given; raises TimeoutError."""

        def invited() -> str | None:
            for room, state in self.invites.items():
                for event in state:
                    mine = event.get("type") == "m.room.member" and event.get("state_key") == self.user_id
                    if mine and sender in (None, event.get("sender")):
                        return room
            return None

        return await self.wait_until(invited, timeout, "an invitation")

    async def messages(self, room: str, *, limit: int = 10_000) -> list[Event]:
        """Returns a room's timeline as the homeserver tells it now, oldest first, at most `limit` events."""
        found: list[Event] = []
        token = ""
        while len(found) < limit:
            query = {"dir": "b", "limit": "200"}
            if token:
                query["from"] = token
            answer = await self.request("GET", f"/v3/rooms/{_q(room)}/messages", query=query)
            found += answer["chunk"]
            token = answer.get("end", "")
            if not token:
                break
        return found[:limit][::-1]

    # -- acting -------------------------------------------------------------------------------------------

    async def send(
        self, room: str, content: Mapping[str, Any], kind: str = "m.room.message", txn_id: str | None = None
    ) -> str:
        """Sends an event and returns its id; the same `txn_id` again sends nothing new."""
        txn = txn_id or self._txn()
        answer = await self.request("PUT", f"/v3/rooms/{_q(room)}/send/{_q(kind)}/{_q(txn)}", content)
        return str(answer["event_id"])

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        """Redacts an event and returns the redaction's id."""
        path = f"/v3/rooms/{_q(room)}/redact/{_q(event_id)}/{self._txn()}"
        return str((await self.request("PUT", path, {"reason": reason} if reason else {}))["event_id"])

    async def upload(self, data: bytes, content_type: str, filename: str) -> str:
        """Uploads a file and returns its mxc address."""
        answer = await self.request(
            "POST",
            "/_matrix/media/v3/upload",
            data=data,
            query={"filename": filename},
            headers={"Content-Type": content_type},
        )
        return str(answer["content_uri"])

    async def download(self, mxc: str) -> bytes:
        """Returns a file's bytes from the authenticated media endpoint."""
        server, _, media = mxc.removeprefix("mxc://").partition("/")
        path = f"/_matrix/client/v1/media/download/{_q(server)}/{_q(media)}"
        async with self._open().get(self.url + path, headers=self._headers()) as response:
            if response.status != 200:
                raise MatrixError(response.status, "", await response.text())
            return await response.read()

    async def create_room(self, **options: Any) -> str:
        """Creates a room (options as in the specification's createRoom body) and returns its id."""
        return str((await self.request("POST", "/v3/createRoom", options))["room_id"])

    async def join(self, room_or_alias: str) -> str:
        """Joins and returns the room's id."""
        return str((await self.request("POST", f"/v3/join/{_q(room_or_alias)}", {}))["room_id"])

    async def invite(self, room: str, user_id: str) -> None:
        """Invites a user."""
        await self.request("POST", f"/v3/rooms/{_q(room)}/invite", {"user_id": user_id})

    async def leave(self, room: str) -> None:
        """Leaves a room or refuses its invitation."""
        await self.request("POST", f"/v3/rooms/{_q(room)}/leave", {})

    async def set_state(self, room: str, kind: str, content: Mapping[str, Any], key: str = "") -> str:
        """Sets a state event and returns its id."""
        answer = await self.request("PUT", f"/v3/rooms/{_q(room)}/state/{_q(kind)}/{_q(key)}", content)
        return str(answer["event_id"])

    async def get_state(self, room: str, kind: str, key: str = "") -> Event | None:
        """Returns the content of a state event, None when there is none."""
        try:
            return await self.request("GET", f"/v3/rooms/{_q(room)}/state/{_q(kind)}/{_q(key)}")
        except MatrixError as error:
            if error.errcode == "M_NOT_FOUND":
                return None
            raise

    async def members(self, room: str) -> dict[str, str | None]:
        """Returns the joined members of a room and their display names."""
        joined = (await self.request("GET", f"/v3/rooms/{_q(room)}/joined_members"))["joined"]
        return {user: profile.get("display_name") for user, profile in joined.items()}

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Event:
        """Makes one request, never repeated, and returns the answer's object.

        `path` begins with a version (`/v3/...`, under /_matrix/client) or with `/_`.
        """
        address = URL(self.url + (path if path.startswith("/_") else "/_matrix/client" + path), encoded=True)
        async with self._open().request(
            method, address, json=body, data=data, params=query, headers={**self._headers(), **(headers or {})}
        ) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                details = answer if isinstance(answer, dict) else {}
                raise MatrixError(response.status, details.get("errcode", ""), details.get("error", ""))
            return dict(answer)

    # -- inside -------------------------------------------------------------------------------------------

    async def _before(self, room: str, token: str) -> list[Event]:
        """Returns what lies between the events already known and a sync's timeline, oldest first."""
        missed: list[Event] = []
        while token:
            query = {"dir": "b", "limit": "100", "from": token}
            answer = await self.request("GET", f"/v3/rooms/{_q(room)}/messages", query=query)
            for event in answer["chunk"]:
                if event["event_id"] in self._known:
                    return missed[::-1]
                missed.append(event)
            token = answer.get("end", "")
        return missed[::-1]

    def _take(self, room: str, events: list[Event]) -> None:
        for event in events:
            if event["event_id"] not in self._known:
                self._known.add(event["event_id"])
                self.events.append({**event, "room_id": room})

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open")
        return self._session

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _txn(self) -> str:
        return f"{self._run}-{next(self._numbers)}"


def _q(part: str) -> str:
    return quote(part, safe="")


def _list(content: Mapping[str, Any], key: str) -> list[Event]:
    return list(content.get(key, {}).get("events", []))
