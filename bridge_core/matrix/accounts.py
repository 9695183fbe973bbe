"""Our users on the homeserver: registration, their plain device, profiles."""

import orjson

from bridge_core.api.ids import UserId
from bridge_core.engine.matrix_ports import MatrixRejectedError, MemberProfile
from bridge_core.matrix.homeserver import Homeserver

__all__ = ["Accounts"]


class Accounts:
    """Registers ghosts and the bot, and sets how they look."""

    def __init__(self, homeserver: Homeserver) -> None:
        self._hs = homeserver

    async def ensure_registered(self, user: UserId) -> str | None:
        """Registers (idempotent) and makes the plain device; returns its id, None when devices do not work here."""
        await self.register(user)
        return self._hs.device if self._hs.devices and await self.make_device(user) else None

    async def register(self, user: UserId) -> None:
        """Registers; one that is there already is fine. No token comes of it (`inhibit_login`)."""
        localpart, _, server = user[1:].partition(":")
        if server != self._hs.server_name or not localpart:
            raise MatrixRejectedError("M_INVALID_USERNAME", "not a user of our homeserver", 400)
        body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
        # No user_id here: it would name a user who does not exist yet.
        url = self._hs.addresses.of("client", "v3", "register")
        try:
            await self._hs.requests.json("POST", url, orjson.dumps(body))
        except MatrixRejectedError as error:
            if error.errcode != "M_USER_IN_USE":
                raise

    async def make_device(self, user: UserId) -> bool:
        """Creates the plain device (spec v1.17; 200 when it is there); False when the homeserver cannot."""
        try:
            await self._hs.put("devices", self._hs.device, user=user, content={"display_name": "Bridge"})
        except MatrixRejectedError as error:
            if error.errcode in {"M_NOT_FOUND", "M_UNRECOGNIZED"}:
                return False
            raise
        return True

    async def set_profile(self, user: UserId, name: str | None, avatar: str | None) -> None:
        """Sets what is not None."""
        if name is not None:
            await self._hs.put("profile", user, "displayname", user=user, content={"displayname": name})
        if avatar is not None:
            await self._hs.put("profile", user, "avatar_url", user=user, content={"avatar_url": avatar})

    async def profile(self, user: UserId) -> MemberProfile:
        """The global profile; nothing in it when there is none or it may not be seen."""
        try:
            answer = await self._hs.get("profile", user)
        except MatrixRejectedError as error:
            if error.status in {403, 404}:
                return MemberProfile(None, None)
            raise
        return member_profile(answer.get("displayname"), answer.get("avatar_url"))

    async def exists(self, user: UserId) -> bool:
        """Whether the homeserver has such a user. One whose profile it will not show is none, as far as we know."""
        try:
            await self._hs.get("profile", user)
        except MatrixRejectedError as error:
            if error.status in {403, 404}:
                return False
            raise
        return True


def member_profile(name: object, avatar: object) -> MemberProfile:
    """What a homeserver gave, as far as it is text."""
    return MemberProfile(
        name if isinstance(name, str) and name else None, avatar if isinstance(avatar, str) and avatar else None
    )
