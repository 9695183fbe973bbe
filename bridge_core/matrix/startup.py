"""What is looked at before the bridge starts, and the ping; failures come with what an admin can do about them."""

import secrets
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from yarl import URL

from bridge_core.api.errors import BridgeError
from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError
from bridge_core.matrix.accounts import Accounts
from bridge_core.matrix.failures import HomeserverFailedError
from bridge_core.matrix.homeserver import Homeserver
from bridge_core.matrix.rooms import Rooms

__all__ = ["HomeserverInfo", "SetupProblemError", "Startup"]

_log = structlog.get_logger(__name__)

_REGISTRATION_ADVICE = (
    "Is the registration file named in the homeserver's configuration, was the homeserver restarted since, and is "
    "as_token in it the same as here?"
)
_KEPT: Final = 5
"""Connections to a former process that a homeserver may still try first (seen with Synapse: two)."""
_PING_ADVICE = {
    "M_URL_NOT_SET": "The registration has no url, so the homeserver cannot send anything: set it to where the bridge "
    "listens, and restart the homeserver.",
    "M_BAD_STATUS": "Something answered at the registration's url, but not as the bridge does: is hs_token the same on "
    "both sides, and is it the bridge that listens there?",
    "M_CONNECTION_FAILED": "The homeserver cannot connect to the registration's url: is the address right as seen from "
    "the homeserver (containers have networks of their own), and does no firewall stand between?",
    "M_CONNECTION_TIMEOUT": "The bridge did not answer the homeserver in time: does a firewall swallow the connection, "
    "or does the url lead to another machine?",
    "M_FORBIDDEN": "The id of the registration is another one than in the bridge's configuration.",
}


class SetupProblemError(BridgeError):
    """Homeserver and bridge do not fit together; the text says what to do. Trying again does not help."""


@dataclass(frozen=True, slots=True)
class HomeserverInfo:
    """What was learnt at start."""

    versions: tuple[str, ...]
    devices: bool
    room_version: str | None


class Startup:
    """Checks the homeserver."""

    def __init__(self, homeserver: Homeserver, accounts: Accounts, rooms: Rooms, sender: UserId) -> None:
        self._hs = homeserver
        self._sender = sender
        self._accounts = accounts
        self._rooms = rooms

    async def check(self) -> HomeserverInfo:
        """Registers the bot, compares who we are with who we should be, and finds out whether devices work.

        Raises SetupProblemError, or TransientError when the homeserver is not there.
        """
        try:
            versions = await self._versions()
            await self._accounts.register(self._hs.bot)
            me = await self._hs.requests.json("GET", self._hs.addresses.of("client", "v3", "account", "whoami"))
        except HomeserverFailedError as error:
            if error.status in {401, 403}:
                raise SetupProblemError(f"{error}. {_REGISTRATION_ADVICE}") from error
            raise
        except MatrixRejectedError as error:
            text = f"the homeserver refuses the bot {self._hs.bot} ({error}). {_REGISTRATION_ADVICE}"
            raise SetupProblemError(text) from error
        if me.get("user_id") != self._sender:
            raise SetupProblemError(
                f"the homeserver takes the bridge for {me.get('user_id')}, the configuration says {self._sender}: "
                "compare sender_localpart and the homeserver's domain."
            )
        if self._hs.devices is None:
            self._hs.devices = await self._probe_devices()
        elif self._hs.devices:
            await self._accounts.make_device(self._hs.bot)
        info = HomeserverInfo(versions, self._hs.devices, await self._rooms.default_version())
        _log.info("homeserver_checked", versions=versions[-1:], devices=info.devices, room_version=info.room_version)
        return info

    async def ping(self, appservice_id: str) -> float | None:
        """Lets the homeserver reach for the bridge, which also makes it send what it held back; milliseconds it took.

        To be called when the bridge listens. None when the homeserver has no ping (before spec v1.7). Raises
        SetupProblemError with the diagnosis.
        """
        url = self._hs.addresses.of("client", "v1", "appservice", appservice_id, "ping")
        try:
            answer = await self._ping(url)
        except (MatrixRejectedError, HomeserverFailedError) as error:
            if error.errcode == "M_UNRECOGNIZED" or (error.status == 404 and error.errcode is None):
                return None
            advice = _PING_ADVICE.get(error.errcode or "")
            if advice is None:
                raise
            raise SetupProblemError(f"{error}. {advice}") from error
        duration = answer.get("duration_ms")
        return float(duration) if isinstance(duration, int | float) else 0.0

    async def _ping(self, url: URL) -> dict[str, Any]:
        for _ in range(_KEPT):
            try:
                return await self._one_ping(url)
            except (MatrixRejectedError, HomeserverFailedError) as error:
                if error.errcode != "M_CONNECTION_FAILED":
                    raise
            # It may have taken a connection that it had kept to the process before this one, which it gives up by that.
        return await self._one_ping(url)

    async def _one_ping(self, url: URL) -> dict[str, Any]:
        body = orjson.dumps({"transaction_id": f"start-{secrets.token_hex(8)}"})
        return await self._hs.requests.json("POST", url, body)

    async def _versions(self) -> tuple[str, ...]:
        answer = await self._hs.requests.json("GET", self._hs.addresses.of("client", "versions"))
        versions = answer.get("versions")
        if not isinstance(versions, list) or not versions:
            raise SetupProblemError("what answers at the homeserver's address is no Matrix homeserver")
        return tuple(str(version) for version in versions)

    async def _probe_devices(self) -> bool:
        """Whether `?device_id=` is understood: whoami must answer with the device it was asked as."""
        if not await self._accounts.make_device(self._hs.bot):
            return False
        query = {"device_id": self._hs.device}
        try:
            me = await self._hs.get("account", "whoami", query=query)
        except MatrixRejectedError:
            return False
        return me.get("device_id") == self._hs.device
