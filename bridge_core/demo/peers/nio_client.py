"""The process of a matrix-nio client: requests come as JSON lines on stdin, answers and events go to stdout.

Run with the Python of nio's own environment; it imports nothing of ours. The verbs are the methods of `Nio` whose
names begin with `do_`; `bridge_core.demo.peers.peer` drives them and says what they promise.
"""

import asyncio
import base64
import contextlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from nio import AsyncClient, AsyncClientConfig, ErrorResponse, Event, MegolmEvent, RoomKeyEvent
from nio.crypto.attachments import decrypt_attachment
from nio.responses import KeysQueryResponse, LoginResponse, Response, SyncResponse

Fields = dict[str, Any]
_LINE = 64 * 1024 * 1024
_FILTER = {"room": {"timeline": {"limit": 200}}}
_PREFIX = "/sendToDevice/m.room.encrypted"


class Holding(AsyncClient):  # type: ignore[misc]
    """A client whose encrypted to-device messages can be held back, as if they were lost on their way for a time."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.holding = False
        self.held: list[tuple[str, str, Any]] = []

    async def _send(
        self, response_class: Any, method: str, path: str, data: Any = None, response_data: Any = None, **named: Any
    ) -> Response:
        if not self.holding or _PREFIX not in path:
            return cast(
                Response, await super()._send(response_class, method, path, data, response_data=response_data, **named)
            )
        self.held.append((method, path, data))
        response = response_class.from_dict({}, *(response_data or ()))
        await self.receive_response(response)
        return cast(Response, response)

    async def keys_query(self) -> Response:
        """Asks for the keys that are wanted, if there are any.

        nio asks in its sync loop and when it sends: of two at once the later has nothing left to ask for, and the error
        of that would end the loop.
        """
        if not self.users_for_key_query:
            return cast(Response, KeysQueryResponse({}, {}))
        return cast(Response, await super().keys_query())

    async def release(self) -> int:
        """Sends what was held back, in order, and holds no longer; returns how many requests that was."""
        self.holding = False
        held, self.held = self.held, []
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.access_token}"}
        for method, path, data in held:
            answer = await self.send(method, path.partition("?")[0], data, headers)
            answer.raise_for_status()
        return len(held)


class Nio:
    """One logged-in device of one user; its store and its credentials are in `folder`."""

    def __init__(self, url: str, folder: str) -> None:
        self._folder = Path(folder)
        self._url = url
        self._client: Holding | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._waiting: dict[str, MegolmEvent] = {}

    @property
    def client(self) -> Holding:
        """The client, once `login` was called."""
        if self._client is None:
            raise RuntimeError("log in first")
        return self._client

    # -- verbs --------------------------------------------------------------------------------------------

    async def do_login(self, user: str, password: str, device: str | None = None) -> Fields:
        """Logs in, or takes up the device that the folder holds, and begins to sync."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = AsyncClientConfig(store_sync_tokens=True, encryption_enabled=True, pickle_key="witness")
        client = Holding(self._url, user, device_id=device, store_path=str(self._folder), config=config)
        file = self._folder / "credentials.json"
        if file.exists():
            known = json.loads(file.read_text())
            client.restore_login(known["user_id"], known["device_id"], known["access_token"])
        else:
            answer = await client.login(password, device_name="nio")
            if not isinstance(answer, LoginResponse):
                raise RuntimeError(f"login refused: {answer}")
            known = {"user_id": answer.user_id, "device_id": answer.device_id, "access_token": answer.access_token}
            file.write_text(json.dumps(known))
        client.add_event_callback(self._event, Event)
        client.add_to_device_callback(self._room_key, RoomKeyEvent)
        self._client = client
        first = asyncio.Event()

        async def synced(_: Any) -> None:
            first.set()

        client.add_response_callback(synced, SyncResponse)
        self._syncing = asyncio.create_task(
            client.sync_forever(timeout=20_000, full_state=True, sync_filter=_FILTER), name="sync"
        )
        self._syncing.add_done_callback(_ended)
        await first.wait()
        while client.should_upload_keys:  # the loop uploads them after its first sync
            await client.synced.wait()
        keys = client.olm.account.identity_keys
        return {**{key: known[key] for key in ("user_id", "device_id")}, **keys}

    async def do_create(self, options: Fields) -> str:
        """Creates a room from a createRoom body."""
        answer = await self._post("/_matrix/client/v3/createRoom", options)
        await self._in_room(answer["room_id"])
        return str(answer["room_id"])

    async def do_join(self, room: str) -> str:
        """Joins a room and waits for its state."""
        answer = _good(await self.client.join(room))
        await self._in_room(answer.room_id)
        return str(answer.room_id)

    async def do_send(self, room: str, content: Fields, kind: str = "m.room.message") -> str:
        """Sends an event, encrypted when the room is; nio sends reactions in clear."""
        await self._in_room(room)
        return str(_good(await self.client.room_send(room, kind, content, ignore_unverified_devices=True)).event_id)

    async def do_redact(self, room: str, event: str, reason: str | None = None) -> str:
        """Redacts an event."""
        return str(_good(await self.client.room_redact(room, event, reason)).event_id)

    async def do_file(self, room: str, data: str, content: Fields) -> str:
        """Encrypts and uploads base64 data, then sends `content` with the address and the keys."""
        plain = base64.b64decode(data)
        answer, keys = await self.client.upload(
            io.BytesIO(plain), content_type="application/octet-stream", encrypt=True, filesize=len(plain)
        )
        file = {**keys, "url": _good(answer).content_uri}
        return await self.do_send(room, {**content, "file": file})

    async def do_download(self, file: Fields) -> str:
        """Downloads and decrypts what an encrypted file's content names, as base64."""
        answer = _good(await self.client.download(file["url"]))
        plain = decrypt_attachment(answer.body, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
        return base64.b64encode(plain).decode()

    async def do_members(self, room: str) -> list[str]:
        """Returns the joined members, as the homeserver tells them now."""
        return sorted(member.user_id for member in _good(await self.client.joined_members(room)).members)

    async def do_devices(self, user: str) -> Fields:
        """Returns the devices of a user whose keys this client accepted, asked for anew."""
        self.client.olm.users_for_key_query.add(user)
        _good(await self.client.keys_query())
        return {
            device.id: {"ed25519": device.ed25519, "curve25519": device.curve25519, "deleted": device.deleted}
            for device in self.client.device_store.active_user_devices(user)
        }

    async def do_discard(self, room: str) -> None:
        """Forgets the room's outbound session: the next message begins a new one."""
        self.client.invalidate_outbound_session(room)

    async def do_exclude(self, user: str, device: str) -> None:
        """Gives a device no more keys; nio does not tell it so."""
        self.client.blacklist_device(self.client.device_store[user][device])

    async def do_hold(self) -> None:
        """Holds back encrypted to-device messages from now on."""
        self.client.holding = True

    async def do_release(self) -> int:
        """Sends what was held back; returns how many requests."""
        return await self.client.release()

    async def do_request_key(self, event: str) -> None:
        """Asks for the key of an event that could not be decrypted."""
        _good(await self.client.request_room_key(self._waiting[event]))

    async def do_close(self) -> None:
        """Stops syncing; what the folder holds can be taken up again."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.wait([self._syncing])
        await self.client.close()

    # -- events -------------------------------------------------------------------------------------------

    async def _event(self, room: Any, event: Event) -> None:
        if isinstance(event, MegolmEvent):
            self._waiting[event.event_id] = event
        self._tell(room.room_id, event)

    async def _room_key(self, key: Any) -> None:
        # The key is in the store once the callbacks of the sync's to-device messages ran.
        for waiting in [event for event in self._waiting.values() if event.session_id == key.session_id]:
            # nio gives an event that it cannot decrypt by raising; the next key may fit.
            with contextlib.suppress(Exception):
                event = self.client.decrypt_event(waiting)
                del self._waiting[waiting.event_id]
                self._tell(waiting.room_id, event)

    def _tell(self, room: str, event: Event) -> None:
        source: Mapping[str, Any] = event.source
        failed = isinstance(event, MegolmEvent)
        _write(
            {
                "event": {
                    "room_id": room,
                    "event_id": event.event_id,
                    "sender": event.sender,
                    "kind": source.get("type", "m.room.encrypted"),
                    "content": dict(source.get("content") or {}),
                    "state_key": source.get("state_key"),
                    "redacts": source.get("redacts") or (source.get("content") or {}).get("redacts"),
                    "encrypted": failed or bool(event.decrypted),
                    "failure": "no key" if failed else None,
                    "shield": None,
                }
            }
        )

    # -- inside -------------------------------------------------------------------------------------------

    async def _in_room(self, room: str) -> None:
        """Waits until a sync told of the room and its members."""
        while room not in self.client.rooms:
            await self.client.synced.wait()

    async def _post(self, path: str, body: Fields) -> Fields:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.client.access_token}"}
        answer = await self.client.send("POST", path, json.dumps(body), headers)
        answer.raise_for_status()
        return cast(Fields, await answer.json())


def _good(answer: Any) -> Any:
    if isinstance(answer, ErrorResponse):
        raise RuntimeError(str(answer))
    return answer


def _ended(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _write({"died": repr(task.exception())})


def _write(line: Fields) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _main(url: str, folder: str) -> None:
    peer = Nio(url, folder)
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def answer(request: Fields) -> None:
        try:
            method = getattr(peer, f"do_{request['do']}")
            _write({"id": request["id"], "ok": await method(**request["with"])})
        except Exception as error:  # whatever went wrong is the answer; the driver raises it
            _write({"id": request["id"], "error": f"{type(error).__name__}: {error}"})

    async with asyncio.TaskGroup() as answering:
        while line := await reader.readline():
            answering.create_task(answer(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2]))
