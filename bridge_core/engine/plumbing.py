"""A room and a chat become one: only when both sides agree, and not without end."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from bridge_core.api.errors import RejectedError
from bridge_core.api.host import Clock
from bridge_core.api.ids import ChatId, NetworkId, PortalKey, RoomId, UserId
from bridge_core.api.info import RoomFacts
from bridge_core.api.network import Consent
from bridge_core.api.optional import Consents, WatchesChats
from bridge_core.engine.consents import CONSENT, SINCE
from bridge_core.engine.gate import Gate
from bridge_core.engine.grants import Grants
from bridge_core.engine.networks import Networks
from bridge_core.engine.portals import MADE_BY, PortalIndex
from bridge_core.engine.store_ports import PortalRow

MOST_TOGETHER: Final = 20
"""Rooms of one chat, and chats of one room."""


class Plumbing:
    """Makes portals that somebody asks for. Whether they may change the room is for the caller to ask."""

    def __init__(
        self,
        networks: Networks,
        portals: PortalIndex,
        gate: Gate,
        grants: Grants,
        clock: Clock,
        refuse: Callable[[NetworkId, RoomId], Awaitable[None]] | None = None,
        facts: Callable[[RoomId], Awaitable[RoomFacts]] | None = None,
    ) -> None:
        self._facts = facts
        self._refuse = refuse
        self._networks = networks
        self._portals = portals
        self._gate = gate
        self._grants = grants
        self._clock = clock

    async def portal(
        self, user: UserId, network: NetworkId, chat: ChatId, name: str, *, into: RoomId | None = None
    ) -> PortalRow:
        """The portal of a chat, made when there is none, once its own side was asked where the network has one to ask.

        `into` is a room that is there already; for all others the network must allow that rooms are made.
        Nothing crosses before that side has agreed. Raises RejectedError in words when it refused, or the user may not,
        and TransientError when somebody ended the chat meanwhile.
        """
        known = self._portals.get(PortalKey(network, chat))
        there = self._networks.get(network)
        if into is not None and there is not None and there.meta.invited:
            raise RejectedError("the chats of that network are for those whom its admin names: no other room gets them")
        if into is None:
            self._grants.room_for(network, known)
        elif self._refuse is not None:
            await self._refuse(network, into)  # before anybody is asked
        if known is None:
            self._gate.new_portal(user, network, chat)
        row = known or await self._portals.ensure(network, chat, name=name, options={MADE_BY: user})
        found = self._networks.get(network)
        if found is None:
            return row
        if isinstance(found.connector, Consents) and row.options.get(CONSENT) != Consent.GRANTED.value:
            # The word is stored before anything can cross: a portal that nobody was asked about lets nothing through.
            row = await self._portals.set_option(row, CONSENT, Consent.ASKED.value)
            room = await self._facts(into) if into is not None and self._facts is not None else None
            said = await found.connector.consent(chat, user, room)
            row = self._portals.current(row)
            if not waits_for_consent(row) and said is not Consent.REFUSED:
                said = Consent(str(row.options.get(CONSENT)))  # its word came in while it was asked, and counts
            options: dict[str, Any] = {CONSENT: None if said is Consent.NOT_NEEDED else said.value}
            if said is Consent.GRANTED and row.options.get(CONSENT) != said.value:
                options[SINCE] = self._clock.now_ms()  # they agreed before; when, is not told
            row = await self._portals.set_options(row, options)
            if said is Consent.REFUSED:
                if known is None:
                    await self._portals.delete_without_rooms(row)
                raise RejectedError("the other side does not want this chat to be bridged")
        if isinstance(found.connector, WatchesChats):
            await found.connector.chat_added(self._portals.current(row).chat)
        return row

    def room_for_one(self, row: PortalRow, room: RoomId) -> None:
        """Whether the two may come together. Raises RejectedError in words."""
        if room in row.rooms:
            return
        if len(row.rooms) >= MOST_TOGETHER:
            raise RejectedError(f"this chat is bridged to {MOST_TOGETHER} rooms already")
        if len(self._portals.in_room(room)) >= MOST_TOGETHER:
            raise RejectedError(f"this room is bridged to {MOST_TOGETHER} chats already")


def waits_for_consent(row: PortalRow) -> bool:
    """Whether the chat's own side has been asked and has not answered."""
    return row.options.get(CONSENT) == Consent.ASKED.value
