"""The homeservers on which the contract of the Matrix side is tested, behind one face."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from yarl import URL

from bridge_core.demo.ports import free_port
from bridge_core.demo.synapse import Synapse
from bridge_core.testing.homeserver import FakeAppservice, FakeHomeserver, FakeProfile

ID = "matrix-bridge"
SERVER = "hs.test"
PUPPET_TOKEN = "puppet-" + secrets.token_hex(16)

Event = dict[str, Any]


class Homeserver(Protocol):
    """What a contract test needs of a homeserver."""

    url: str
    as_token: str
    hs_token: str
    puppet_token: str
    """Of an appservice that may act as every human."""
    port: int
    """Where the appservice has to listen."""

    async def human(self) -> "Human":
        """A new user."""

    async def restart(self) -> None:
        """Stop and start."""

    async def readers(self, human: "Human", room: str) -> dict[str, str]:
        """Which event each user of a room has read last, as a member sees it."""

    async def typists(self, human: "Human", room: str) -> set[str]:
        """Who types in a room, as a member sees it."""

    async def to_device(self, human: "Human") -> list[Event]:
        """The to-device messages that came for a human since the last call."""


class Human:
    """A raw client of one user. `id` and `call(method, path below /_matrix/client/v3, body)`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, user_id: str, token: str) -> None:
        self.id = user_id
        self.token = token
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer's JSON, with `status` added to an object when it is an error."""
        url = URL(f"{self._url}/_matrix/client/v3/{path}", encoded=True)
        async with self._session.request(method, url, json=body, headers=self._headers) as response:
            answer = await response.json()
            return {**answer, "status": response.status} if response.status >= 400 else answer

    async def send(self, room: str, body: str, msgtype: str = "m.text", **more: Any) -> str:
        """Sends a message and returns its id; `more` are further keys of its content."""
        return await self.send_event(room, {"msgtype": msgtype, "body": body, **more})

    async def send_event(self, room: str, content: dict[str, Any], event_type: str = "m.room.message") -> str:
        """Sends any event and returns its id."""
        answer = await self.call("PUT", f"rooms/{room}/send/{event_type}/{secrets.token_hex(8)}", content)
        return str(answer["event_id"])

    async def edit(self, room: str, event: str, body: str) -> str:
        """Replaces a text."""
        new = {"msgtype": "m.text", "body": body}
        relation = {"rel_type": "m.replace", "event_id": event}
        return await self.send_event(room, {**new, "body": f"* {body}", "m.new_content": new, "m.relates_to": relation})

    async def react(self, room: str, event: str, key: str) -> str:
        """Reacts to an event."""
        relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
        return await self.send_event(room, {"m.relates_to": relation}, "m.reaction")

    async def redact(self, room: str, event: str, reason: str = "") -> str:
        """Redacts an event and returns the redaction's id."""
        body = {"reason": reason} if reason else {}
        answer = await self.call("PUT", f"rooms/{room}/redact/{quote(event)}/{secrets.token_hex(8)}", body)
        return str(answer["event_id"])

    async def join(self, room_or_alias: str) -> str:
        """Joins and returns the room's id."""
        answer = await self.call("POST", f"join/{quote(room_or_alias, safe='')}")
        return str(answer["room_id"])

    async def read(self, room: str, event: str, kind: str = "m.read", **more: Any) -> None:
        """Has read everything up to an event."""
        await self.call("POST", f"rooms/{room}/receipt/{kind}/{quote(event, safe='')}", more)

    async def type(self, room: str, milliseconds: int = 30_000) -> None:
        """Begins to type, or (0) ends."""
        content = {"typing": True, "timeout": milliseconds} if milliseconds else {"typing": False}
        await self.call("PUT", f"rooms/{room}/typing/{quote(self.id)}", content)

    async def be(self, presence: str, status: str | None = None) -> None:
        """Sets the presence."""
        content = {"presence": presence, **({"status_msg": status} if status is not None else {})}
        await self.call("PUT", f"presence/{quote(self.id)}/status", content)

    async def ephemeral(self, room: str) -> list[Event]:
        """Typing and receipts of a room, by /sync (not on the fake)."""
        # Synapse keeps the answer to a first sync for a while: each time another filter.
        this = {"rooms": [room], "not_rooms": [f"!{secrets.token_hex(8)}:{SERVER}"], "timeline": {"limit": 1}}
        only = quote(json.dumps({"room": this, "presence": {"types": []}}))
        answer = await self.call("GET", f"sync?timeout=0&filter={only}")
        found: list[Event] = answer["rooms"]["join"][room]["ephemeral"]["events"]
        return found

    async def upload(self, data: bytes, mime: str, name: str) -> str:
        """Uploads a file and returns its mxc address."""
        url = f"{self._url}/_matrix/media/v3/upload"
        headers = {**self._headers, "Content-Type": mime}
        async with self._session.post(url, params={"filename": name}, data=data, headers=headers) as response:
            return str((await response.json())["content_uri"])

    async def download(self, mxc: str) -> bytes:
        """A file's bytes."""
        url = f"{self._url}/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with self._session.get(url, headers=self._headers) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def sees(self, room: str, match: Callable[[Event], bool], timeout: float = 60) -> Event:
        """The first event of the room that matches, waiting for it. Raises TimeoutError."""
        found: list[Event] = []
        pause = 0.02
        try:
            async with asyncio.timeout(timeout):
                while True:
                    found = await self.timeline(room)
                    for event in found:
                        if match(event):
                            return event
                    await asyncio.sleep(pause)
                    # Asking costs a real homeserver the time in which it would do what is waited for.
                    pause = min(pause * 1.3, 0.2)
        except TimeoutError:
            last = [(event["sender"], event["type"], event["content"]) for event in found[-4:]]
            raise TimeoutError(f"{self.id} did not see it in {timeout:g} s; last: {last}") from None

    async def timeline(self, room: str) -> list[dict[str, Any]]:
        """The last hundred events, oldest first."""
        answer = await self.call("GET", f"rooms/{room}/messages?dir=b&limit=100")
        return list(reversed(answer["chunk"]))

    async def bodies(self, room: str) -> list[tuple[str, str]]:
        """(sender, body) of each message."""
        events = await self.timeline(room)
        return [(e["sender"], e["content"].get("body", "")) for e in events if e["type"] == "m.room.message"]


class _OnFake:
    """FakeHomeserver with the abilities of Synapse, or of a basic one."""

    def __init__(self, fake: FakeHomeserver, session: aiohttp.ClientSession, port: int) -> None:
        self.url = fake.url
        self.as_token = fake.appservice.as_token
        self.hs_token = fake.appservice.hs_token
        self.puppet_token = PUPPET_TOKEN
        self.port = port
        self._fake = fake
        self._session = session

    async def human(self) -> Human:
        user = self._fake.user(f"human{secrets.token_hex(4)}")
        return Human(self._session, self.url, user.id, user.token)

    async def restart(self) -> None:
        await self._fake.restart()

    async def readers(self, human: Human, room: str) -> dict[str, str]:
        return dict(self._fake.room(room).receipts)

    async def typists(self, human: Human, room: str) -> set[str]:
        return set(self._fake.room(room).typing)

    async def to_device(self, human: Human) -> list[Event]:
        return self._fake.keys.take(human.id, (await human.call("GET", "account/whoami"))["device_id"])


class _OnSynapse:
    """A real Synapse."""

    def __init__(self, synapse: Synapse, session: aiohttp.ClientSession, tokens: tuple[str, str], port: int) -> None:
        self.url = synapse.url
        self.as_token, self.hs_token = tokens
        self.puppet_token = PUPPET_TOKEN
        self.port = port
        self._synapse = synapse
        self._session = session
        self._since: dict[str, str] = {}

    async def human(self) -> Human:
        localpart = f"human{secrets.token_hex(4)}"
        token = await self._synapse.register_user(localpart, "secret")
        return Human(self._session, self.url, f"@{localpart}:{SERVER}", token)

    async def restart(self) -> None:
        await self._synapse.restart()

    async def readers(self, human: Human, room: str) -> dict[str, str]:
        read: dict[str, str] = {}
        for edu in await human.ephemeral(room):
            if edu["type"] == "m.receipt":
                for event, kinds in edu["content"].items():
                    read.update(dict.fromkeys(kinds.get("m.read", {}), event))
        return read

    async def typists(self, human: Human, room: str) -> set[str]:
        typing = [edu["content"]["user_ids"] for edu in await human.ephemeral(room) if edu["type"] == "m.typing"]
        return set(typing[-1]) if typing else set()

    async def to_device(self, human: Human) -> list[Event]:
        only = quote(json.dumps({"room": {"rooms": []}, "presence": {"types": []}}))
        since = f"&since={self._since[human.id]}" if human.id in self._since else ""
        answer = await human.call("GET", f"sync?timeout=0&filter={only}{since}")
        self._since[human.id] = answer["next_batch"]
        found: list[Event] = answer.get("to_device", {}).get("events", [])
        return found


@asynccontextmanager
async def fake(profile: FakeProfile, *, encryption: bool = False) -> AsyncIterator[Homeserver]:
    """A FakeHomeserver."""
    port = free_port()
    service = FakeAppservice(id=ID, url=f"http://127.0.0.1:{port}", encryption=encryption)
    async with (
        FakeHomeserver(server_name=SERVER, profile=profile, appservice=service, puppet_token=PUPPET_TOKEN) as server,
        aiohttp.ClientSession() as session,
    ):
        yield _OnFake(server, session, port)


@asynccontextmanager
async def synapse(
    folder: Path, *, encryption: bool = False, sender: str = "bridgebot", ephemeral: bool = True
) -> AsyncIterator[Homeserver]:
    """A real Synapse with a registration; with `encryption` one that asks for what that needs.

    `sender` is the registration's, the bot is @bridgebot in any case. Without `ephemeral` nothing but events is sent.
    """
    port = free_port()
    tokens = (secrets.token_hex(16), secrets.token_hex(16))
    registration = {
        "id": ID,
        "url": f"http://127.0.0.1:{port}",
        "as_token": tokens[0],
        "hs_token": tokens[1],
        "sender_localpart": sender,
        "rate_limited": False,
        "receive_ephemeral": ephemeral,
        "namespaces": {
            "users": [{"exclusive": True, "regex": "@(_.*|bridgebot):hs\\.test"}],
            "aliases": [{"exclusive": True, "regex": "#_.*:hs\\.test"}],
            "rooms": [],
        },
        "io.element.msc4190": True,
        "org.matrix.msc3202": encryption,
    }
    file = folder / "registration.yaml"
    file.write_text(json.dumps(registration))
    puppets = folder / "puppets.yaml"
    puppets.write_text(
        json.dumps(
            {
                "id": "puppets",
                "url": None,
                "as_token": PUPPET_TOKEN,
                "hs_token": secrets.token_hex(16),
                "sender_localpart": "puppeteer",
                "rate_limited": False,
                "namespaces": {"users": [{"exclusive": False, "regex": "@human.*:hs\\.test"}]},
            }
        )
    )
    server = Synapse(folder / "synapse", server_name=SERVER, registrations=[file, puppets])
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield _OnSynapse(server, session, tokens, port)
    finally:
        server.kill()
