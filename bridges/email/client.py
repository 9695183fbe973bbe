"""The clients of an email network: one for everybody's shared mailboxes, one for each Matrix user with an address."""

from collections.abc import Callable
from typing import Final

from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixMember,
    MatrixMessage,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
)
from bridge_core.api.network import (
    Attempt,
    Capabilities,
    Inbox,
    Level,
    Login,
    LoginState,
    LoginStatus,
    Sent,
)
from bridges.email.chats import OWN, ChatKind, parse_chat
from bridges.email.codec.addresses import parse_address
from bridges.email.config.network import EmailConfig
from bridges.email.people import identifiers, name_of, person_of
from bridges.email.station import Station

_FEATURES: Final = {
    "edit": Level.PARTIAL,
    "redact": Level.PARTIAL,
    "react": Level.PARTIAL,
    "typing": Level.DROPPED,
    "receipts": Level.DROPPED,
    "delivery": Level.PARTIAL,
    "presence": Level.DROPPED,
    "poll": Level.FALLBACK,
    "vote": Level.DROPPED,
    "location": Level.FALLBACK,
    "spoiler": Level.FALLBACK,
    "emoji": Level.FALLBACK,
    "sticker": Level.FALLBACK,
    "expiry": Level.DROPPED,
    "name": Level.DROPPED,
    "topic": Level.DROPPED,
    "avatar": Level.DROPPED,
    "member": Level.PARTIAL,
    "power": Level.DROPPED,
}


class EmailClient:
    """What one login, or nobody's, does with mail. All of it is the station's work, which runs with the network."""

    def __init__(
        self, network: NetworkId, config: EmailConfig, running: Callable[[], Station], inbox: Inbox, login: Login | None
    ):
        self._network = network
        self._config = config
        self._running = running
        self._inbox = inbox
        self._login = login

    @property
    def _own(self) -> LoginId | None:
        return self._login.id if self._login is not None else None

    async def connect(self, cursor: bytes | None) -> None:
        """The network-wide client opens the doors; a login has nothing of its own to connect."""
        if self._login is None:
            await self._running().open()
        self._inbox.report(LoginState(self._network, self._own, LoginStatus.CONNECTED))

    async def disconnect(self) -> None:
        """Closes the doors where they are its own."""
        if self._login is None:
            await self._running().close()

    async def log_out(self) -> None:
        """The address is nobody's any more."""
        if self._login is not None:
            # It never becomes somebody else's: what is sent to it is meant for them.
            await self._running().owners.take(parse_address(self._login.id), self._login.user)
            self._running().mailboxes.remove(self._login.id)
            await self._running().passwords.remove(self._login.id)

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """Into the outbox. What becomes of it comes later, as RemoteStatus."""
        return await self._running().writing.send(message, attempt, self._own)

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        """While it is held back; a correction afterwards, where the settings let it."""
        return await self._running().amending.edit(edit, attempt, self._own)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """While it is held back; of those who can, afterwards, where the settings let it."""
        return await self._running().amending.redact(redaction, attempt, self._own)

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        """To those whose programs show it; to a stranger's request it is the mailbox's word."""
        if await self._running().admitting.reacted(reaction, self._own):
            return Sent()
        return await self._running().writing.react(reaction, attempt.key, self._own)

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        """Who is removed from a room is not written to from there any more."""
        return await self._running().people.moderate(act, self._own)

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        """Nobody comes into a mailbox's rooms uninvited, and they stand in no list."""
        try:
            place = parse_chat(chat)
        except ValueError:
            return None
        mailbox = self._running().mailboxes.at(place, self._own)
        if mailbox is None and place.mailbox != OWN:
            return None
        # Whose own mailbox it is may not be known yet; what its room is called is.
        address = str(mailbox.address) if mailbox is not None else ""
        name, topic, direct = (mailbox.name if mailbox is not None else "") or address or "Mail", address, False
        if place.kind is ChatKind.THREAD:
            thread = await self._running().threads.get(mailbox.key, place.name) if mailbox is not None else None
            name = (thread.subject if thread is not None else "") or "(no subject)"
        elif place.kind is ChatKind.CORRESPONDENT:
            info = await self.user_info(RemoteUserId(place.name))
            name, direct = info.name or place.name, mailbox is None or mailbox.login is not None
        elif place.kind is ChatKind.LIST:
            name = place.name
        return ChatInfo(name, topic, direct=direct, join_rule="invite", listed=False)

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        """Their address, which is all that is known of people who do not write."""
        person = person_of(user)
        return UserInfo(name_of(person) if person is not None else user, identifiers=identifiers(user))

    def capabilities(self, chat: ChatId) -> Capabilities:
        """What mail carries: all texts and files. Changes while it is held back, or later, as the settings say.

        There is no limit of age: a mail that waits for its server is held longer than that.
        """
        return Capabilities(_FEATURES, Level.FULL, max_file=self._config.composing.max_size)
