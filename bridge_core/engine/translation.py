"""Matrix events to the neutral messages that adapters send."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge_core.api.content import Content, Mention, Node, Picture, Plain, RichText
from bridge_core.api.errors import RejectedError, TransientError
from bridge_core.api.ids import EventId, MessageId, RemoteUserId, RoomId, UserId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixMessage,
    MatrixOutgoing,
    MatrixReaction,
    MatrixRedaction,
    MatrixSender,
    MessageRef,
)
from bridge_core.content.addresses import is_mxc
from bridge_core.content.limits import Limits
from bridge_core.content.matrix import parse_message
from bridge_core.content.polls import POLL_STARTS
from bridge_core.content.tree import changed, nodes_of
from bridge_core.engine.confirmations import Confirmations
from bridge_core.engine.decrypting import ENCRYPTED, OFF, UNREADABLE
from bridge_core.engine.ghosts import GhostPool
from bridge_core.engine.members import Members
from bridge_core.engine.names import Names
from bridge_core.engine.reactions import noted_reaction
from bridge_core.engine.store_ports import MessageRow, Messages, PortalRow
from bridge_core.engine.threads import Threads

MESSAGE_TYPES: Final = ("m.room.message", "m.sticker", *POLL_STARTS)
_MOST_MENTIONS: Final = 50

Translator = Callable[[Mapping[str, Any], PortalRow, MatrixSender], Awaitable[MatrixOutgoing | None]]
"""Makes of an event what it says to a portal's chat; None when that is nothing (it refers to what never crossed).

Raises RejectedError in words for the sender.
"""


Undo = Callable[[Mapping[str, Any], PortalRow], Awaitable[None]]
"""Makes what an event did undone, since the network of the portal will not have it. Returns when that is sure to happen
some time; twice does no harm."""

Taken = Callable[[Mapping[str, Any], PortalRow], Coroutine[Any, Any, None]]
"""What follows of a state event that the network of the portal has taken. After a crash it may not be called."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of events that cross. `state`: as state only; `wants`: it goes to clients with a method for that class.

    Without `wants` it goes to every network, and where a client has no method for it the sender is told. `concerns`
    says whether an event of the type crosses at all, `reaches` whether it goes to a portal's network; neither blocks.
    `undo` is called when the network has refused it, `taken` some time after it has taken it.
    """

    translate: Translator
    state: bool = False
    wants: type | None = None
    concerns: Callable[[Mapping[str, Any]], bool] | None = None
    reaches: Callable[[Mapping[str, Any], PortalRow], bool] | None = None
    undo: Undo | None = None
    taken: Taken | None = None


class Translation:
    """Makes `MatrixOutgoing` of an event for one portal, with all references resolved."""

    def __init__(
        self,
        names: Names,
        ghosts: GhostPool,
        messages: Messages,
        members: Members,
        confirmations: Confirmations,
        threads: Threads,
        limits: Limits,
        reference_wait: float,
    ) -> None:
        self.hides: Callable[[UserId, int], bool] = lambda user, portal: False
        """Whether a user is not to be named to a portal's network: they opted out. From memory."""
        self._names = names
        self._ghosts = ghosts
        self._messages = messages
        self._members = members
        self._confirmations = confirmations
        self._threads = threads
        self._limits = limits
        self._reference_wait = reference_wait
        self._kinds: dict[str, Kind] = {
            **dict.fromkeys(MESSAGE_TYPES, Kind(self._message)),
            "m.room.redaction": Kind(self._redaction),
            "m.reaction": Kind(self._reaction),
            ENCRYPTED: Kind(self._encrypted),
        }

    def add(self, event_type: str, kind: Kind) -> None:
        """Let events of a type cross."""
        if event_type in self._kinds:
            raise ValueError(f"{event_type} crosses already")
        self._kinds[event_type] = kind

    def kind(self, event: Mapping[str, Any]) -> Kind | None:
        """How an event crosses; None when it does not. Does not block."""
        kind = self._kinds.get(event["type"])
        if kind is None or kind.state != ("state_key" in event):
            return None
        return kind if kind.concerns is None or kind.concerns(event) else None

    async def sender(self, event: Mapping[str, Any]) -> MatrixSender:
        """Who sent the event, under their name in its room."""
        room, user = RoomId(event["room_id"]), UserId(event["sender"])
        return self._members.known(room, user) or await self._members.sender(room, user)

    async def outgoing(
        self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender
    ) -> MatrixOutgoing | None:
        """What the event says to the portal's chat; None when it says nothing there (it refers to what never crossed).

        Raises RejectedError in words for the sender.
        """
        kind = self.kind(event)
        return await kind.translate(event, portal, sender) if kind is not None else None

    async def _encrypted(
        self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender
    ) -> MatrixOutgoing | None:
        raise RejectedError(event.get(UNREADABLE, OFF))

    async def _message(
        self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender
    ) -> MatrixMessage | MatrixEdit | None:
        room, event_id, timestamp = RoomId(event["room_id"]), EventId(event["event_id"]), timestamp_of(event)
        parsed = parse_message(event["content"], self._limits, event_type=event["type"])
        content = await self._with_people(parsed.content)
        if parsed.mentions or parsed.mentions_room:
            named = await self._named(room, parsed.mentions)
            content = replace(content, mentions=named, mentions_all=parsed.mentions_room)
        if parsed.replaces is not None:
            row = await self.row(room, parsed.replaces, portal, must=True)
            if row is None:
                return None
            if row.sender != sender.id:
                raise RejectedError("only the author can edit a message")
            target = await self.ref(row)
            return MatrixEdit(room, event_id, portal.chat, sender, target, content, timestamp)
        reply = thread = None
        if parsed.reply_to is not None:
            reply = await self._reference(room, parsed.reply_to, portal)
        if parsed.thread is not None:
            thread = await self._reference(room, parsed.thread, portal)
            self._threads.said(room, parsed.thread, event_id)
        return MatrixMessage(
            room, event_id, portal.chat, sender, content, timestamp, reply, thread, expiry=portal.options.get("expiry")
        )

    async def _redaction(
        self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender
    ) -> MatrixRedaction | None:
        redacts, room = redacted_by(event), RoomId(event["room_id"])
        row = await self.row(room, redacts, portal, must=True) if redacts is not None else None
        if row is None:
            return None
        reason = event["content"].get("reason")
        every = await self._messages.by_event(room, row.event)
        others = [one.message for one in every if one.portal == portal.id and one.message != row.message]
        noted = await noted_reaction(self._messages, portal.id, room, row.event)
        return MatrixRedaction(
            room,
            EventId(event["event_id"]),
            portal.chat,
            sender,
            await self.ref(row),
            timestamp_of(event),
            reason if isinstance(reason, str) else None,
            reacted_to=await self._reference(room, noted[0], portal) if noted is not None else None,
            reaction=noted[1] if noted is not None else None,
            further=tuple(MessageId(one) for one in others if not one.startswith("~")),
        )

    async def _reaction(
        self, event: Mapping[str, Any], portal: PortalRow, sender: MatrixSender
    ) -> MatrixReaction | None:
        relates = event["content"].get("m.relates_to")
        if not isinstance(relates, dict):
            return None
        target, key = relates.get("event_id"), relates.get("key")
        room = RoomId(event["room_id"])
        if not isinstance(target, str) or not isinstance(key, str) or not 0 < len(key) <= 255:
            return None
        picture = None
        if is_mxc(key):
            name = event["content"].get("shortcode", event["content"].get("com.beeper.reaction.shortcode"))
            picture = Picture(name[:100] if isinstance(name, str) else "", key)
        row = await self.row(room, EventId(target), portal, must=True)
        if row is None:
            return None
        return MatrixReaction(
            room,
            EventId(event["event_id"]),
            portal.chat,
            sender,
            await self.ref(row),
            key,
            timestamp_of(event),
            picture=picture,
        )

    async def row(self, room: RoomId, event: EventId, portal: PortalRow, *, must: bool = False) -> MessageRow | None:
        """What an event is in a portal; None for what never crossed.

        While it is on its way this waits; with `must` it then raises TransientError, so that the lane tries again.
        """
        waiting = self._confirmations.of_event(room, event)
        if waiting is not None:
            # What it refers to is still in flight: its remote id comes with the proof of its arrival.
            await self._confirmations.wait(waiting, self._reference_wait)
            if not waiting.ended.is_set() and must:
                raise TransientError("the message that this is about is still on its way")
        for row in await self._messages.by_event(room, event):
            if row.portal == portal.id:
                return row
        return None

    async def _reference(self, room: RoomId, event: EventId, portal: PortalRow) -> MessageRef:
        row = await self.row(room, event, portal)
        return MessageRef(None, event) if row is None else await self.ref(row)

    async def ref(self, row: MessageRow) -> MessageRef:
        """A message as adapters are told of it."""
        # No excerpt: what the replier may see of an earlier message is not known here (CVE-2024-32000, CVE-2024-39691).
        matrix = remote = None
        if row.sender.startswith("@"):
            if not self.hides(UserId(row.sender), row.portal):
                matrix = await self._members.sender(row.room, UserId(row.sender))
        else:
            remote = RemoteUserId(row.sender)
        message = None if row.message.startswith("~") else MessageId(row.message)
        return MessageRef(message, row.event, remote_sender=remote, matrix_sender=matrix, timestamp=row.timestamp)

    async def _named(self, room: RoomId, users: Sequence[UserId]) -> tuple[Mention, ...]:
        """The people that a message is to notify, ghosts as who they are on the network."""
        found = []
        for user in users[:_MOST_MENTIONS]:
            ghost = await self._ghosts.by_user(user) if self._names.is_ours(user) else None
            if ghost is not None:
                found.append(Mention(ghost.name or ghost.remote, ghost.remote, user))
            elif not self._names.is_ours(user):
                known = self._members.known(room, user)
                found.append(Mention(known.name if known else user[1:].partition(":")[0], None, user))
        return tuple(found)

    async def _with_people(self, content: Content) -> Content:
        if len(content.text) == 1 and isinstance(content.text[0], Plain):
            return content
        people: dict[UserId | None, RemoteUserId] = {}
        for mention in nodes_of(content.text):
            if isinstance(mention, Mention) and mention.matrix is not None and self._names.is_ours(mention.matrix):
                ghost = await self._ghosts.by_user(mention.matrix)
                if ghost is not None:
                    people[mention.matrix] = ghost.remote
        if not people:
            return content

        def known(node: Node) -> RichText | None:
            if not isinstance(node, Mention) or node.matrix not in people:
                return None
            return (replace(node, remote=people[node.matrix]),)

        return replace(content, text=changed(content.text, known))


def redacted_by(event: Mapping[str, Any]) -> EventId | None:
    """What a redaction takes back; None for every other event. Since room version 11 it stands in the content."""
    if event["type"] != "m.room.redaction":  # nearly every event
        return None
    redacts = event["content"].get("redacts", event.get("redacts"))
    return EventId(redacts) if isinstance(redacts, str) else None


def timestamp_of(event: Mapping[str, Any]) -> int:
    """When its homeserver says that it was sent, in milliseconds; 0 when it does not say."""
    value = event.get("origin_server_ts")
    return value if isinstance(value, int) else 0
