"""Drives an encrypted client that runs as a process of its own, by JSON lines over its stdin and stdout.

A request is `{"id", "do", "with"}`, its answer `{"id", "ok"}` or `{"id", "error"}`. The process tells each event
of a timeline as `{"event": {...}}` without being asked, again when it becomes readable later or is judged anew.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge_core.demo.locked_venv import LockedVenv
from bridge_core.demo.person import Person

__all__ = ["Peer", "PeerError", "PeerEvent", "Shield", "ensure_nio", "nio_peer"]

_LINE = 64 * 1024 * 1024
_NIO = LockedVenv("nio", Path(__file__).with_name("nio.lock"), "matrix-nio")


class PeerError(Exception):
    """The client refused a request or died; the message is its own."""


@dataclass(frozen=True, slots=True)
class Shield:
    """The warning a client shows beside a message: colour `none`, `grey` or `red`, and its reason's name."""

    colour: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """One event of a timeline as the client sees it: in clear when it could decrypt it.

    `failure` says why it could not; `kind` is then m.room.encrypted. `shield` is None from a client that
    does not judge senders (nio), and for events that were not encrypted.
    """

    room_id: str
    event_id: str
    sender: str
    kind: str
    content: Mapping[str, Any]
    encrypted: bool
    failure: str | None
    shield: Shield | None
    state_key: str | None = None
    redacts: str | None = None

    @property
    def body(self) -> str:
        """The message's text, of an edit the new one; "" when it has none."""
        content = self.content.get("m.new_content") or self.content
        return str(content.get("body", ""))


class Peer(Person):
    """One device of one user in an encrypted client of its own process.

    `folder` keeps the client's store: `stop` or `kill`, then `start` again takes the device up where it was, and
    `wipe` forgets it. Every call raises PeerError when the client refuses or is gone, TimeoutError after `patience`.
    """

    def __init__(self, command: Sequence[str], folder: Path, *, patience: float = 90) -> None:
        self.user_id = ""
        self.device_id = ""
        self.keys: Mapping[str, str] = {}
        """The device's `ed25519` and `curve25519` keys."""
        self.events: dict[str, PeerEvent] = {}
        """What was seen, by event id, in the order first seen."""
        self._command = command
        self._folder = folder
        self._patience = patience
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._news = asyncio.Event()
        self._last_words = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self, user: str, password: str, **options: Any) -> None:
        """Starts the process and logs in, or takes up the device of the folder; returns once it has synced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = list(self._command)
        setpriv = shutil.which("setpriv")
        if setpriv is not None:  # the child dies with us, however we die
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE,
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read(self._process), name="peer")
        known = await self.call("login", user=user, password=password, **options)
        self.user_id, self.device_id = known["user_id"], known["device_id"]
        self.keys = {kind: known[kind] for kind in ("ed25519", "curve25519") if kind in known}

    async def stop(self) -> None:
        """Ends the process in order, with everything written."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(PeerError, TimeoutError):
                await self.call("close")
        await self.kill()

    async def kill(self) -> None:
        """Ends the process with SIGKILL."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
        reading, self._reading = self._reading, None
        if reading is not None:
            await asyncio.wait([reading])

    def wipe(self) -> None:
        """Forgets the device's keys and its login, as a client whose data was cleared; not while it runs."""
        if self._process is not None:
            raise RuntimeError("stop it first")
        shutil.rmtree(self._folder)

    # -- acting -------------------------------------------------------------------------------------------

    async def create_room(self, *, encrypted: bool = True, settings: Mapping[str, Any] = {}, **options: Any) -> str:
        """Creates a room (createRoom's options), encrypted unless told otherwise, with these rotation settings."""
        state = list(options.pop("initial_state", []))
        if encrypted:
            content = {"algorithm": "m.megolm.v1.aes-sha2", **settings}
            state.append({"type": "m.room.encryption", "state_key": "", "content": content})
        return str(await self.call("create", options={**options, "initial_state": state}))

    async def join(self, room: str) -> str:
        """Joins a room by id or alias and returns its id."""
        return str(await self.call("join", room=room))

    async def send(self, room: str, content: Mapping[str, Any], kind: str = "m.room.message") -> str:
        """Sends an event, encrypted when the room is, and returns its id."""
        return str(await self.call("send", room=room, content=dict(content), kind=kind))

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        """Redacts an event."""
        return str(await self.call("redact", room=room, event=event_id, reason=reason))

    async def file(self, room: str, data: bytes, name: str, mimetype: str, msgtype: str = "m.file") -> str:
        """Encrypts, uploads and sends a file."""
        content = {"msgtype": msgtype, "body": name, "info": {"mimetype": mimetype, "size": len(data)}}
        return str(await self.call("file", room=room, data=base64.b64encode(data).decode(), content=content))

    async def download(self, event: PeerEvent) -> bytes:
        """Returns the decrypted bytes of a message's encrypted file."""
        return base64.b64decode(await self.call("download", file=event.content["file"]))

    async def members(self, room: str) -> list[str]:
        """Returns the joined members."""
        return list(await self.call("members", room=room))

    async def devices(self, user: str) -> dict[str, dict[str, Any]]:
        """Returns a user's devices, asked for anew: their keys, and `signed` from a client that judges."""
        return dict(await self.call("devices", user=user))

    async def discard(self, room: str) -> None:
        """Makes the client's next message in a room begin a new Megolm session."""
        await self.call("discard", room=room)

    async def exclude(self, user: str, device: str) -> None:
        """Gives one device no keys from now on (nio only)."""
        await self.call("exclude", user=user, device=device)

    async def hold(self) -> None:
        """Holds back the client's encrypted to-device messages, room keys above all, until `release`."""
        await self.call("hold")

    async def release(self) -> int:
        """Sends what was held back; returns how many requests that was."""
        return int(await self.call("release"))

    async def call(self, verb: str, **arguments: Any) -> Any:
        """Does one verb and returns its answer."""
        process = self._process
        if process is None or process.stdin is None:
            raise PeerError("the client is not running")
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(json.dumps({"id": number, "do": verb, "with": arguments}).encode() + b"\n")
            async with asyncio.timeout(self._patience):
                await process.stdin.drain()
                return await answer
        except TimeoutError:
            raise TimeoutError(f"{verb} took over {self._patience:g} s; {self._tail()}") from None
        except OSError as error:
            raise PeerError(f"the client is gone: {error}; {self._tail()}") from error
        finally:
            del self._answers[number]

    # -- seeing -------------------------------------------------------------------------------------------

    async def wait_for(
        self, fits: Callable[[PeerEvent], bool], what: str = "an event", timeout: float | None = None
    ) -> PeerEvent:
        """Returns the first event, of all seen so far and to come, that fits; raises TimeoutError naming `what`."""
        patience = self._patience if timeout is None else timeout
        return await self.wait_until(lambda: next(filter(fits, self.events.values()), None), patience, what)

    async def _more(self) -> None:
        if self._reading is None or self._reading.done():
            raise PeerError(f"the client is gone; {self._tail()}")
        await self._news.wait()

    def _last(self) -> str:
        last = [(event.sender, event.kind, event.content, event.failure) for event in self.events.values()][-5:]
        return f"last: {last}; {self._tail()}"

    def _tell(self) -> None:
        """There is something new to see."""
        self._news.set()
        self._news = asyncio.Event()

    async def wait_text(self, room: str, body: str) -> PeerEvent:
        """Returns the readable message in a room with exactly this text."""
        return await self.wait_for(
            lambda event: event.room_id == room and event.kind == "m.room.message" and event.body == body, repr(body)
        )

    async def wait_event(self, event_id: str) -> PeerEvent:
        """Returns the event of this id, readable or not."""
        return await self.wait_for(lambda event: event.event_id == event_id, event_id)

    async def wait_readable(self, event_id: str) -> PeerEvent:
        """Returns the event of this id once the client could decrypt it."""
        return await self.wait_for(lambda event: event.event_id == event_id and event.failure is None, event_id)

    # -- inside -------------------------------------------------------------------------------------------

    @property
    def _log(self) -> Path:
        return self._folder.with_name(self._folder.name + ".log")

    def _tail(self) -> str:
        return f"{self._last_words} the end of {self._log}:\n{self._log.read_text(errors='replace')[-3_000:]}"

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "event" in said:
                shield = said["event"].pop("shield")
                event = PeerEvent(**said["event"], shield=Shield(**shield) if shield else None)
                self.events[event.event_id] = event
                self._tell()
            elif "id" in said:
                waiting = self._answers.get(said["id"])
                if waiting is not None and not waiting.done():
                    if "error" in said:
                        waiting.set_exception(PeerError(said["error"]))
                    else:
                        waiting.set_result(said.get("ok"))
            else:
                self._last_words = str(said.get("died", ""))
                break  # it says that it cannot go on
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(PeerError(f"the client is gone; {self._tail()}"))
        self._tell()


async def nio_peer(url: str, folder: Path, progress: Callable[[str], None] = lambda _: None) -> Peer:
    """Returns a matrix-nio client of the homeserver at `url`, not started; installs nio when it is missing.

    nio does not judge senders: `shield` is always None. Raises SetupError.
    """
    python = await ensure_nio(progress)
    return Peer([str(python), "-I", str(Path(__file__).with_name("nio_client.py")), url, str(folder)], folder)


async def ensure_nio(progress: Callable[[str], None] = lambda _: None) -> Path:
    """Returns the interpreter of nio's environment, made first when needed; raises SetupError."""
    return await _NIO.ensure(progress)
