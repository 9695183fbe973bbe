"""What keeps encryption going beside the messages: one-time keys that run out, and sessions that no longer decrypt.

Source: client-server API, "One-time and fallback keys", "Recovering from undecryptable messages". Each runs in a task
of its own, one at a time per device; what fails is tried again when the homeserver or the peer tells of it once more.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import UserId
from bridge_core.crypto.accounts import ONE_TIME, Accounts
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.pairwise import Pairwise
from bridge_core.crypto.ports import CryptoStore, KeyServer, KeysWanted, Owner
from bridge_core.crypto.sending import sent
from bridge_core.observe.metrics import Counter

__all__ = ["Few", "Upkeep"]

Few = tuple[Owner, int, bool | None]
"""A device, how many one-time keys the homeserver has of it, whether its fallback key is unused (None: not known)."""

_AT_ONCE: Final = 100
_OF_ONE: Final = 25
"""Of `_AT_ONCE`: somebody's server may take its time to answer, which must not keep others from being mended."""
_STRANGERS: Final = 1_000
_DEVICES: Final = 5

_log = structlog.get_logger(__name__)


class Upkeep:
    """Starts tasks by `start`, whose owner ends them."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        accounts: Accounts,
        devices: DeviceLists,
        pairwise: Pairwise,
        counted: Counter,
        start: Callable[[Coroutine[Any, Any, object], str], None],
    ) -> None:
        self._store = store
        self._server = server
        self._accounts = accounts
        self._devices = devices
        self._pairwise = pairwise
        self._counted = counted
        self._start = start
        self._filling: set[Owner] = set()
        self._mending: dict[tuple[Owner, str], UserId] = {}
        self._strangers: OrderedDict[UserId, list[tuple[Owner, str]]] = OrderedDict()

    def few(self, counts: Mapping[str, Any], unused: Mapping[str, Any]) -> list[Few]:
        """Devices of ours whose keys are running out, from what a transaction says of counts and fallback keys.

        Exhausted keys come as an empty object. What has no account, such as cross-signing keys, is passed over.
        """
        found: list[Few] = []
        for user, devices in counts.items():
            if not isinstance(devices, Mapping):
                continue
            for device, of_device in devices.items():
                owner = Owner(UserId(user), device)
                if not self._accounts.has(owner) or owner in self._filling:
                    continue
                left = of_device.get(ONE_TIME, 0) if isinstance(of_device, Mapping) else 0
                of_user = unused.get(user)
                types = of_user.get(device) if isinstance(of_user, Mapping) else None
                is_unused = ONE_TIME in types if isinstance(types, list) else None
                if type(left) is int and self._accounts.few(owner, left, is_unused):
                    found.append((owner, left, is_unused))
        return found

    def fill(self, owner: Owner, left: int, unused: bool | None) -> None:
        """Upload one-time keys, and a fallback key where it was used."""
        if owner not in self._filling:
            self._filling.add(owner)
            self._start(self._filled(owner, left, unused), "crypto-keys")

    def wedged(self, owner: Owner, user: UserId, sender_key: str) -> None:
        """A device's message did not decrypt: start a new session with it, and say so by an empty message."""
        place = (owner, sender_key)
        if place in self._mending or len(self._mending) >= _AT_ONCE:
            return
        if list(self._mending.values()).count(user) < _OF_ONE:
            self._mending[place] = user
            self._start(self._mended(owner, user, sender_key), "crypto-mend")

    async def met(self, user: UserId) -> None:
        """Somebody is tracked now, since they have spoken in a room: what did not decrypt before is mended."""
        for owner, sender_key in self._strangers.pop(user, ()):
            place = (owner, sender_key)
            if place not in self._mending:
                self._mending[place] = user
                await self._mended(owner, user, sender_key)

    def _strange(self, owner: Owner, user: UserId, sender_key: str) -> None:
        found = self._strangers.setdefault(user, [])
        if (owner, sender_key) not in found:
            found.append((owner, sender_key))
            del found[:-_DEVICES]
        while len(self._strangers) > _STRANGERS:
            self._strangers.popitem(last=False)

    async def _filled(self, owner: Owner, left: int, unused: bool | None) -> None:
        async def fill() -> None:
            if not await self._accounts.counted(owner, left, unused):
                await self._store.commit([KeysWanted(owner, wanted=False)])

        try:
            await self._tried(fill, "one-time keys", owner)
        finally:
            self._filling.discard(owner)

    async def _mended(self, owner: Owner, user: UserId, sender_key: str) -> None:
        async def mend() -> None:
            if not await self._devices.tracks(user):
                self._strange(owner, user, sender_key)  # their server may take its time to answer
                return
            ours = await self._accounts.ready(owner)
            if not await self._pairwise.unwedge_due(ours, sender_key):
                return
            keys = (await self._devices.current([user]))[user]
            device = keys.by_key(sender_key)
            if device is None or not await self._pairwise.renew(ours, device):
                return
            messages, _ = await self._pairwise.encrypted(ours, [device], "m.dummy", lambda _: {})
            await sent(self._server, owner, "m.room.encrypted", messages)
            self._counted.inc("unwedged")

        try:
            await self._tried(mend, "a new session", owner)
        finally:
            self._mending.pop((owner, sender_key), None)

    async def _tried(self, work: Callable[[], Awaitable[None]], what: str, owner: Owner) -> None:
        try:
            await work()
        except BridgeError as error:
            # Counts, and messages that do not decrypt, come again.
            _log.warning("encryption_upkeep_failed", what=what, user=owner.user, error=str(error))
