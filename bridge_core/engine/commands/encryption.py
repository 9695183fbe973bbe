"""Commands about encryption: how it is, the recovery key, new identities."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridge_core.engine.commands.command import Answer, Call, Command, Surety
from bridge_core.engine.commands.registry import Commands
from bridge_core.engine.encryption import RoomEncryption
from bridge_core.engine.permissions import Permission

T = TypeVar("T")
TOPIC = "Encryption"
NONE = "none"
"""Instead of a key: the confirmation is taken back."""

_SEEN: Final = "Who has verified them is told that their identity has changed, and has to verify it again."
_BLOCKED: Final = (
    "is not blocked any more: it can read what is said from now on, and what it says is taken",
    "is blocked: it cannot read what the bridge says from now on, my answers included, and what it says is refused",
)
_SURE: Final = (
    "an admin's identity is confirmed, so I do this only when a confirmed admin says it encrypted, by a verified "
    "device, and when it comes in time; or by the API with its secret"
)
_BLOCKED_ONE: Final = (
    "whoever has the blocked device could say that: say it encrypted, by another device of yours, or use the API with "
    "its secret; or another admin does it"
)
_WRONG: Final = (
    "But it is NOT the one that made the identities which the homeserver has. Say encryption restore with the right "
    "one before you do anything else: once there are other devices, those identities are lost, and people see new ones."
)
_AS_BEFORE: Final = ("is not blocked, so nothing changes", "is blocked already")


@dataclass(frozen=True, slots=True)
class EncryptionState:
    """How encryption is. `trouble` is empty while it works; `failing`: parts that fail now, and why."""

    mode: str
    keys_come: str
    """Which way keys reach the bridge, in words: "by /sync"."""
    ghost_devices: str
    policies: Mapping[str, str]
    rooms: int
    devices: int
    trouble: str
    failing: Mapping[str, str] = field(default_factory=dict)


class Keeper(Protocol):
    """Keeps the identities of the bridge's users: `app.encryption.Encryption`."""

    def state(self) -> EncryptionState:
        """How encryption is. Does not block."""

    async def recovery_key(self) -> str:
        """The key that opens all identities, as people write it down."""

    async def rotate(self) -> None:
        """A new recovery key, and new identities for all our users."""

    async def reset(self, user: UserId) -> None:
        """A new identity for one user of ours. Raises RejectedError when it is none."""

    def resettable(self, user: UserId) -> None:
        """Raises RejectedError where a user has no identity of ours. Does not block."""

    async def replaces(self, key: str) -> bool:
        """Whether `restore` would replace another key, which identities are made of. Raises as `restore`."""

    async def restore(self, key: str) -> bool:
        """Take a recovery key that was written down. Raises RejectedError when it is none.

        Whether it made the identity that the homeserver has of the bot, where that matters and can be told.
        """

    async def block(self, user: UserId, device: str, *, blocked: bool) -> bool:
        """A device is blocked, or no more; whether it was otherwise before. Raises RejectedError when there is none."""

    async def guarded(self) -> bool:
        """Whether an admin's identity is confirmed."""

    async def confirmed(self, user: UserId) -> str:
        """A user's master key that an admin has confirmed, which may not be the present one; empty: none."""

    async def confirm(self, user: UserId, key: str) -> str:
        """A user's master key, confirmed where `key` is just that; `none` takes a confirmation back.

        Raises RejectedError where there is no such key.
        """


class OwnWords:
    """Lets commands be done only where they surely are their sender's, once the identity of an admin is confirmed.

    A homeserver can say anything in anybody's name, and so can whoever has a password.
    """

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def __call__(self, run: Callable[[Call], Awaitable[T]]) -> Callable[[Call], Awaitable[T]]:
        """The same, for who is surely the sender. Raises RejectedError in words."""

        async def checked(call: Call) -> T:
            if call.surety < Surety.SURE and await self._keeper.guarded():
                raise RejectedError(_SURE)
            return await run(call)

        return checked


class EncryptionCommands:
    """encryption status, recovery-key, rotate, restore, reset, confirm, block, unblock."""

    def __init__(self, commands: Commands, keeper: Keeper, rooms: RoomEncryption, bot: UserId, own: OwnWords) -> None:
        self._keeper = keeper
        self._rooms = rooms
        self._bot = bot
        admin = Permission.ADMIN
        commands.add(
            Command("encryption status", "", "whether rooms are encrypted, and how", admin, self._status, TOPIC),
            Command(
                "encryption recovery-key",
                "",
                "show the key that opens the identities of the bridge's users (in an encrypted room)",
                admin,
                own(self._recovery_key),
                TOPIC,
                private=True,
            ),
            Command(
                "encryption rotate",
                "",
                "make a new recovery key and new identities; who has verified a ghost has to do it again",
                admin,
                own(self._rotate),
                TOPIC,
                asks=own(self._rotate_follows),
            ),
            Command(
                "encryption restore",
                "KEY...",
                "take a recovery key that was written down: the identities are those it made",
                admin,
                own(self._restore),
                TOPIC,
                private=True,
                secret=("key",),
                asks=own(self._restore_follows),
            ),
            Command(
                "encryption reset",
                "[USER]",
                "make a new identity for a ghost, or for me; who has verified it has to do it again",
                admin,
                own(self._reset),
                TOPIC,
                asks=own(self._reset_follows),
            ),
            Command(
                "encryption confirm",
                "USER [KEY]",
                "show a user's identity; with its key: I have compared it with them (trust level verified), or none",
                admin,
                own(self._confirm),
                TOPIC,
            ),
            Command(
                "encryption block",
                "USER DEVICE",
                "give a device no keys any more, and take nothing that it says",
                admin,
                own(self._block),
                TOPIC,
                asks=own(self._block_follows),
            ),
            Command("encryption unblock", "USER DEVICE", "end a block", admin, own(self._unblock), TOPIC),
        )

    async def _status(self, call: Call) -> Answer:
        state = self._keeper.state()
        lines = [
            "Encryption works." if not state.trouble else f"Encryption does not work: {state.trouble}.",
            *(f"Part of it does not: {name}, {why}." for name, why in sorted(state.failing.items())),
            f"Keys come {state.keys_come} (encryption.mode: {state.mode}).",
            f"Known encrypted rooms: {state.rooms}; devices of mine and of ghosts that have keys: {state.devices} "
            f"({state.ghost_devices}).",
            *(f"{name}: {policy}" for name, policy in sorted(state.policies.items())),
            "What is said in encrypted rooms is readable on the bridge's server: it goes on to networks.",
        ]
        data: dict[str, Any] = {
            "mode": state.mode,
            "keys_come": state.keys_come,
            "ghost_devices": state.ghost_devices,
            "networks": dict(state.policies),
            "rooms": state.rooms,
            "devices": state.devices,
            "trouble": state.trouble,
            "failing": dict(state.failing),
        }
        return Answer("\n".join(lines), data)

    async def _recovery_key(self, call: Call) -> Answer:
        # Said in the clear, it would stay in the homeserver's database.
        if await self._is_heard(call):
            raise RejectedError("this room is not encrypted: ask in an encrypted one, or by the API")
        if call.room is not None and await self._rooms.others(call.room, call.sender):
            raise RejectedError("others can read what is said here: ask in a room of the two of us, or by the API")
        key = await self._keeper.recovery_key()
        text = f"The recovery key: {key}\nWhoever has it can act as all ghosts."
        return Answer(text, {"recovery_key": key}, alone=call.event is not None)

    async def _rotate_follows(self, call: Call) -> str:
        return (
            "I shall make a new recovery key: the one that you have written down is of no use then. All users of mine "
            f"get new identities, and none gets the old one back. {_SEEN}"
        )

    async def _rotate(self, call: Call) -> Answer:
        await self._keeper.rotate()
        return Answer(
            "There is a new recovery key: encryption recovery-key, in an encrypted room, shows it. Write it down. "
            "Each user of mine gets a new identity when it speaks."
        )

    async def _restore_follows(self, call: Call) -> str:
        if not await self._keeper.replaces(call["key"]):
            return ""
        return (
            "That is another recovery key than the one in use, which I shall not keep: encryption recovery-key shows "
            f"it. Each user of mine gets another identity. {_SEEN}"
        )

    async def _restore(self, call: Call) -> Answer:
        heard = await self._is_heard(call)
        fits = await self._keeper.restore(call["key"])
        words = "The recovery key is taken. "
        trouble = self._keeper.state().trouble
        if not fits:
            words += _WRONG
        elif trouble:
            words += f"Encryption does not work yet: {trouble}."
        else:
            words += "Each user of mine has the identity that it made when it speaks."
        if heard:
            words += " It was said in a room that is not encrypted, so your homeserver has seen it: once all is well, "
            words += "say encryption rotate."
        return Answer(words)

    async def _is_heard(self, call: Call) -> bool:
        """Whether homeservers read what is said there: it is no encrypted room, and not the API."""
        return call.event is not None and not (call.room is not None and await self._rooms.encrypted(call.room))

    async def _reset_follows(self, call: Call) -> str:
        user = UserId(call.get("user") or self._bot)
        self._keeper.resettable(user)
        who = f"I ({user})" if user == self._bot else user
        return f"{who} shall have a new identity at once, and never the old one again. {_SEEN}"

    async def _reset(self, call: Call) -> Answer:
        user = UserId(call.get("user") or self._bot)
        await self._keeper.reset(user)
        return Answer(f"{user} has a new identity.", {"user": user})

    async def _confirm(self, call: Call) -> Answer:
        user, key = UserId(call["user"]), call.get("key", "")
        before = await self._keeper.confirmed(user)
        master = await self._keeper.confirm(user, key)
        if not key:
            words = f"{user} has the identity {master}. "
            changed = before not in ("", master)
            if changed:
                words += "It is not the one that was confirmed, and so what is said here is not for their devices. "
            if before == master:
                words += f"It is confirmed. To take that back, say encryption confirm {user} {NONE}"
            else:
                words += f"Compare it with them, then say encryption confirm {user} {master}"
            return Answer(words, {"user": user, "key": master, "changed": changed, "confirmed": before == master})
        how = "is not confirmed any more" if key == NONE else "is confirmed"
        return Answer(f"The identity of {user} {how}.", {"user": user, "key": master, "confirmed": key != NONE})

    async def _block_follows(self, call: Call) -> str:
        if UserId(call["user"]) != call.sender:
            return ""
        return (
            f"{call['device']} is a device of your own: it will not read what I say, my answers included, and what it "
            "says is refused. If you have no other that is trusted, only another admin or the API can take that back."
        )

    async def _block(self, call: Call) -> Answer:
        return await self._blocked(call, blocked=True)

    async def _unblock(self, call: Call) -> Answer:
        if UserId(call["user"]) == call.sender and call.surety < Surety.ENCRYPTED:
            raise RejectedError(_BLOCKED_ONE)
        return await self._blocked(call, blocked=False)

    async def _blocked(self, call: Call, *, blocked: bool) -> Answer:
        user, device = UserId(call["user"]), call["device"]
        changed = await self._keeper.block(user, device, blocked=blocked)
        how = (_BLOCKED if changed else _AS_BEFORE)[blocked]
        return Answer(f"{user} ({device}) {how}.", {"user": user, "device": device, "blocked": blocked})
