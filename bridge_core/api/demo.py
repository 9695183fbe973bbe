"""What a network adds to `matrix-bridge demo`: servers, its section of the configuration, and a script to compare.

An entry point of the group `matrix_bridge.demos`, named as the network shall be called, gives a `DemoFactory`. Order of
calls: built; `start`; `config`, `where` and `server` (any number of times); `script` once the bridge runs, its steps
one after another; `stop`. What people would see is read by clients that share no code with the bridge.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")
Event = dict[str, Any]
"""A Matrix event as the homeserver gave it, with its `room_id`."""


class DemoError(Exception):
    """Something did not start, or was not seen. The text is for people; it may hold the end of a log."""


class DemoUnavailableError(DemoError):
    """This machine lacks what the network's demo needs; the text says what to install."""


class Way(StrEnum):
    """Which way a message goes."""

    TO_NETWORK = "to_network"
    TO_MATRIX = "to_matrix"
    AT_REST = "at_rest"
    """Nowhere: what is stored is looked at."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One message that crossed, as people on both sides see it: what was said, and what was seen of it."""

    said: str
    seen: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a script. Names are stable: programs read them.

    `act` does it and returns once the other side saw what it should. It raises DemoError, AssertionError, OSError or
    TimeoutError with words about what was seen instead; the steps after it are tried all the same.
    """

    name: str
    way: Way
    act: Callable[[], Awaitable[Crossing]]


class Place(Protocol):
    """Where the servers of a demo run. They are stopped with the demo, whatever happens."""

    @property
    def directory(self) -> Path:
        """An existing folder of this network's own, readable by this user only."""

    @property
    def matrix_user(self) -> str:
        """The Matrix id of the person whose conversation it will be."""

    def free_port(self) -> int:
        """A TCP port of 127.0.0.1 that nobody listens on."""

    def progress(self, text: str) -> None:
        """Tell people what is being done."""

    async def serve(
        self, name: str, command: Sequence[str], *, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a server and return when it takes connections on `port`.

        Its output goes to a log named after it. Raises DemoError with the end of that log when it ends or does not
        answer within half a minute.
        """


class MatrixUser(Protocol):
    """A person on Matrix: a raw client of the homeserver. Every call may raise OSError, TimeoutError or DemoError."""

    user_id: str

    @property
    def events(self) -> list[Event]:
        """All timeline events seen so far, in the order seen."""

    @property
    def invites(self) -> dict[str, list[Event]]:
        """Rooms not joined yet, with their stripped state."""

    async def wait_until(self, found: Callable[[], _T | None], timeout: float, what: str) -> _T:
        """Sync until `found` returns something other than None; raises TimeoutError naming `what`."""

    async def wait_for(self, predicate: Callable[[Event], bool], timeout: float = 20, what: str = "an event") -> Event:
        """The first event, of all seen so far and to come, that fits; raises TimeoutError naming `what`."""

    async def messages(self, room: str, *, limit: int = 10_000) -> list[Event]:
        """A room's timeline as the homeserver tells it now, oldest first."""

    async def members(self, room: str) -> dict[str, str | None]:
        """The joined members of a room and their display names."""

    async def send(
        self, room: str, content: Mapping[str, Any], kind: str = "m.room.message", txn_id: str | None = None
    ) -> str:
        """Send an event; its id."""

    async def send_text(self, room: str, body: str, *, html: str | None = None, kind: str = "m.text") -> str:
        """Send a message of this msgtype; its id."""

    async def reply(self, room: str, event_id: str, body: str) -> str:
        """Reply to an event; the id."""

    async def edit(self, room: str, event_id: str, body: str) -> str:
        """Replace an own message's text; the id."""

    async def react(self, room: str, event_id: str, key: str) -> str:
        """Put a reaction on an event; its id."""

    async def redact(self, room: str, event_id: str, reason: str | None = None) -> str:
        """Redact an event; the redaction's id."""

    async def upload(self, data: bytes, content_type: str, filename: str) -> str:
        """Upload a file; its mxc address."""

    async def download(self, mxc: str) -> bytes:
        """A file's bytes."""

    async def create_room(self, **options: Any) -> str:
        """Create a room, with options as in the body of createRoom; its id."""

    async def join(self, room_or_alias: str) -> str:
        """Join; the room's id."""

    async def invite(self, room: str, user_id: str) -> None:
        """Invite a user."""

    async def leave(self, room: str) -> None:
        """Leave a room or refuse its invitation."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The running bridge as seen from Matrix. `room` is the portal of `portal_chat`, and `matrix` has joined it.

    `fetch` gets the body behind an http address, such as a media link; it raises DemoError when that is refused.
    """

    matrix: MatrixUser
    room: str
    name: str
    """The Matrix user's display name."""
    fetch: Callable[[str], Awaitable[bytes]]
    encrypted: bool = False
    """Whether the rooms are encrypted; `matrix` then reads and writes by an encrypted client."""


class NetworkDemo(Protocol):
    """One network's part of the demo."""

    in_encrypted_rooms: bool
    """Whether its script can be held in an encrypted room (`demo --encrypted`); `Scene.encrypted` says when it is."""

    @property
    def portal_chat(self) -> str:
        """The chat to bridge, as an admin would write it in the configuration."""

    @property
    def server(self) -> str:
        """Name and version of the server, once it was started."""

    async def start(self, place: Place) -> None:
        """Start the servers and the person who talks from this network.

        Raises DemoUnavailableError when something is not installed, DemoError when it does not work.
        """

    def config(self) -> Mapping[str, Any]:
        """The network's section of the configuration, `type` included, `portals` left out."""

    def script(self, scene: Scene) -> Sequence[Step]:
        """The conversation. Each step is run once, in order."""

    def where(self) -> list[str]:
        """Lines for people: where to point a client of this network, and what to join."""

    async def stop(self) -> None:
        """Close what the demo itself opened; the place stops the servers. Idempotent."""


class DemoFactory(Protocol):
    """What the entry point is: usually the class itself."""

    def __call__(self, server: str | None = None) -> NetworkDemo:
        """Build it without I/O; `server` chooses one of several servers, None the best that is installed.

        Raises ValueError, naming the choices, when there is no such server.
        """
