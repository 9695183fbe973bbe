"""Requests for a session's key: ours, when a key has not come, and others', for keys that they were given before.

Source: client-server API, "m.room_key_request", "m.forwarded_room_key". We ask the devices of the session's own user,
and believe only them. We give a key only to a device that had been given it, from the index it had been given.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import orjson
import structlog

from bridge_core.api.errors import BridgeError
from bridge_core.api.host import Clock
from bridge_core.api.ids import RoomId, UserId
from bridge_core.crypto.accounts import Accounts
from bridge_core.crypto.devices import DeviceLists
from bridge_core.crypto.inbound import Found, Inbounds
from bridge_core.crypto.messages import Inner, KeyRequest, RoomKey
from bridge_core.crypto.pairwise import Pairwise
from bridge_core.crypto.policy import Policy
from bridge_core.crypto.ports import CryptoStore, KeyServer, Owner, RequestGone, RequestRow
from bridge_core.crypto.sending import sent
from bridge_core.crypto.shares import shares_in
from bridge_core.crypto.userkeys import trust_of
from bridge_core.engine.hourly import Hourly
from bridge_core.engine.secrecy import MEGOLM
from bridge_core.observe.metrics import Counter

__all__ = ["KeyRequests"]

_ANSWERED: Final = 10_000
_AGAIN: Final = 3_600_000
_OPEN: Final = 100
_MOST: Final = 500
"""Requests of one user in an hour: the names in them are the asker's own, and no bound by themselves."""

_log = structlog.get_logger(__name__)

Start = Callable[[Coroutine[Any, Any, object], str], None]


class KeyRequests:
    """Sends, answers and takes back requests. What waits for the homeserver runs in tasks made by `start`."""

    def __init__(
        self,
        store: CryptoStore,
        server: KeyServer,
        accounts: Accounts,
        devices: DeviceLists,
        pairwise: Pairwise,
        inbounds: Inbounds,
        bot: Owner,
        clock: Clock,
        policy: Policy,
        counted: Counter,
        start: Start,
    ) -> None:
        self._store = store
        self._server = server
        self._accounts = accounts
        self._devices = devices
        self._pairwise = pairwise
        self._inbounds = inbounds
        self._bot = bot
        self._clock = clock
        self._policy = policy
        self._counted = counted
        self._start = start
        self._running = 0
        self._answered: OrderedDict[tuple[UserId, str, str], int] = OrderedDict()
        self._hourly = Hourly(clock)

    async def ask(self, room: RoomId, session: str, sender: UserId, sender_key: str) -> bool:
        """Ask the sender's devices for a key, once; whether a request went out now. Raises as KeyServer."""
        if await self._store.requests(room, session):
            return False
        await self._devices.current([sender])  # an answer is believed of a known device only, and it is not asked then
        request = secrets.token_hex(12)
        value = orjson.dumps({"sender": sender})
        await self._store.commit([RequestRow(request, room, session, value, self._clock.now_ms())])
        body = {"algorithm": MEGOLM, "room_id": room, "session_id": session}
        if sender_key:
            body["sender_key"] = sender_key
        content = {
            "action": "request",
            "body": body,
            "request_id": request,
            "requesting_device_id": self._bot.device,
        }
        try:
            await sent(self._server, self._bot, "m.room_key_request", {sender: {"*": content}})
        except BridgeError:
            await self._store.commit([RequestGone(request)])
            raise
        self._counted.inc("asked")
        return True

    async def is_welcome(self, found: Inner, given: RoomKey) -> bool:
        """Whether a forwarded key was asked for, of this user, and comes from a device that is trusted enough."""
        rows = await self._store.requests(given.room, given.session.id)
        if not any(orjson.loads(row.value)["sender"] == found.sender for row in rows):
            return False
        keys = await self._devices.known(found.sender)
        device = keys.by_key(found.sender_key)
        return device is not None and device.ed25519 == found.ed25519 and trust_of(keys, device) >= self._policy.share

    def arrived(self, room: RoomId, session: str) -> None:
        """A key has come: nobody needs to look for it any more."""
        self._spawn(self._take_back(room, session), "key-request-back")

    def asked(self, user: UserId, request: KeyRequest) -> None:
        """Somebody's device asks for a key."""
        place = (user, request.device, request.session)
        now = self._clock.now_ms()
        if self._hourly.count("request", user).number > _MOST or now - self._answered.get(place, -_AGAIN) < _AGAIN:
            self._counted.inc("refused")
            return
        self._answered[place] = now
        self._answered.move_to_end(place)
        if len(self._answered) > _ANSWERED:
            self._answered.popitem(last=False)
        self._spawn(self._answer(user, request), "key-request")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._running >= _OPEN:
            work.close()
            self._counted.inc("dropped")
            return
        guarded = self._guarded(work)
        try:
            self._start(guarded, name)
        except RuntimeError:
            # The bridge stops: nobody waits for the answer any more.
            guarded.close()
            work.close()
            self._counted.inc("dropped")
            return
        self._running += 1

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BridgeError as error:
            _log.info("key_request_failed", error=str(error))
            self._counted.inc("failed")
        finally:
            self._running -= 1

    async def _take_back(self, room: RoomId, session: str) -> None:
        for row in await self._store.requests(room, session):
            await self._store.commit([RequestGone(row.request)])
            sender = UserId(orjson.loads(row.value)["sender"])
            content = {
                "action": "request_cancellation",
                "request_id": row.request,
                "requesting_device_id": self._bot.device,
            }
            await sent(self._server, self._bot, "m.room_key_request", {sender: {"*": content}})

    async def _answer(self, user: UserId, request: KeyRequest) -> None:
        # Whoever was given a key had its device on a list of ours. All others are told apart before anything is read of
        # shares, of which there may be a thousand, and before any homeserver is asked.
        if not await self._devices.tracks(user) or request.device not in (await self._devices.known(user)).devices:
            self._counted.inc("refused")
            return
        place = (user, request.device)
        shares = [shares_in(row) for row in await self._store.shares(request.room, request.session)]
        share = next((part[place] for part in reversed(shares) if place in part), None)
        if share is None or share.since < 0:
            self._counted.inc("refused")
            return
        keys = (await self._devices.current([user]))[user]
        device = keys.devices.get(request.device)
        if device is None or device.curve25519 != share.key or trust_of(keys, device) < self._policy.share:
            self._counted.inc("refused")
            return
        for found in await self._inbounds.find(request.room, request.session):
            content = self._forwarded(found, share.since)
            if not found.device or content is None:
                continue
            owner = Owner(found.row.sender, found.device)
            ours = await self._accounts.ready(owner)
            messages, _ = await self._pairwise.encrypted(ours, [device], "m.forwarded_room_key", lambda _: content)  # noqa: B023
            await sent(self._server, owner, "m.room.encrypted", messages)
            self._counted.inc("answered")
            return
        self._counted.inc("refused")

    @staticmethod
    def _forwarded(found: Found, since: int) -> Mapping[str, Any] | None:
        key = found.session.export(since)
        if key is None:
            return None
        return {
            "algorithm": MEGOLM,
            "room_id": found.row.room,
            "session_id": found.row.session,
            "session_key": key,
            "sender_key": found.row.sender_key,
            "sender_claimed_ed25519_key": found.ed25519,
            "forwarding_curve25519_key_chain": [],
        }
