"""The echo network for the conformance kit: people speak through the inbox, and what the adapter is handed is heard."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from bridge_core.api.content import Attachment, Content, MediaKind, Plain
from bridge_core.api.events import (
    RemoteEdit,
    RemoteEvent,
    RemoteMessage,
    RemoteReaction,
    RemoteRedaction,
    RemoteSender,
)
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixOutgoing, MatrixReaction, MatrixRedaction
from bridge_core.api.network import Attempt, Inbox, Login, Sent
from bridge_core.content import to_plain
from bridge_core.testing.conformance import Feature, Heard, Subject
from bridges.echo.connector import EchoClient, EchoConfig, EchoConnector

_REMOVED = "~removed"


class EchoSubject(Subject):
    """Echo repeats everything besides, as itself: what `ann` and `bob` do comes through the inbox."""

    features = frozenset(
        {
            *(Feature.REPLIES, Feature.EDITS, Feature.REDACTIONS, Feature.FILES),
            *(Feature.REACTIONS, Feature.REACTION_REMOVALS),
        }
    )

    def __init__(self) -> None:
        self.adapters = {"watched": self._factory()}
        self.host: Host | None = None
        self.inbox: Inbox | None = None
        self.came: list[tuple[str, MatrixOutgoing]] = []
        self._arrived = asyncio.Condition()
        self._numbers = itertools.count(1)

    def section(self) -> dict[str, Any]:
        return {"type": "watched", "members": "eager", "leave_grace": "0s"}

    def chats(self, count: int) -> list[str]:
        return [f"hall{number}" for number in range(count)]

    def person(self, who: str) -> RemoteUserId:
        return RemoteUserId(who)

    async def say(self, who: str, chat: ChatId, text: str, *, reply_to: str | None = None) -> str:
        reply = MessageId(reply_to) if reply_to is not None else None
        return await self._say(who, chat, Content((Plain(text),)), reply)

    async def heard(self, chat: ChatId, text: str) -> Heard:
        def fits(message: MatrixOutgoing) -> bool:
            return (
                isinstance(message, MatrixMessage) and message.chat == chat and text in to_plain(message.content.text)
            )

        key, message = await self.wait(fits)
        assert isinstance(message, MatrixMessage)
        reply = message.reply_to.id if message.reply_to is not None else None
        return Heard(key, message.sender.name, to_plain(message.content.text), reply)

    async def texts(self, chat: ChatId) -> list[str]:
        return [
            to_plain(message.content.text)
            for _, message in self.came
            if isinstance(message, MatrixMessage) and message.chat == chat
        ]

    async def edit(self, who: str, chat: ChatId, message: str, text: str) -> None:
        content = Content((Plain(text),))
        await self.tell(RemoteEdit(chat, self.sender(who), MessageId(message), content, self.new_id()))

    async def edited(self, chat: ChatId, message: str, text: str) -> None:
        await self.wait(
            lambda m: isinstance(m, MatrixEdit) and m.target.id == message and to_plain(m.content.text) == text
        )

    async def take_back(self, who: str, chat: ChatId, message: str) -> None:
        await self.tell(RemoteRedaction(chat, self.sender(who), MessageId(message), id=self.new_id()))

    async def taken_back(self, chat: ChatId, message: str) -> None:
        await self.wait(lambda m: isinstance(m, MatrixRedaction) and m.target.id == message)

    async def react(self, who: str, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        identity = MessageId(f"{who}/{message}/{key}/{removed}")
        await self.tell(RemoteReaction(chat, self.sender(who), MessageId(message), key, removed, identity))

    async def reacted(self, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        identity, _ = await self.wait(
            lambda m: isinstance(m, MatrixReaction) and m.target.id == message and m.key == key
        )
        if removed:
            await self.wait(lambda m: isinstance(m, MatrixRedaction) and m.target.id == identity)

    async def send_file(self, who: str, chat: ChatId, data: bytes, name: str) -> None:
        async def chunks() -> Any:
            yield data

        assert self.host is not None
        blob = await self.host.blobs.put(chunks(), len(data))
        file = Attachment(MediaKind.IMAGE, name, blob)
        await self._say(who, chat, Content(attachments=(file,)), None)

    async def got_file(self, chat: ChatId, name: str) -> bytes:
        def file_of(message: MatrixOutgoing) -> Attachment | None:
            files = message.content.attachments if isinstance(message, MatrixMessage) and message.chat == chat else ()
            return next((file for file in files if file.name == name), None)

        _, message = await self.wait(lambda m: file_of(m) is not None)
        file = file_of(message)
        assert self.host is not None and file is not None
        return b"".join([chunk async for chunk in self.host.open(file)])

    # Behind

    def sender(self, who: str) -> RemoteSender:
        """Somebody, with a name."""
        return RemoteSender(RemoteUserId(who), who.capitalize())

    def new_id(self) -> MessageId:
        """An id that nobody used."""
        return MessageId(f"p{next(self._numbers)}")

    async def tell(self, event: RemoteEvent) -> None:
        """The network says so."""
        assert self.inbox is not None
        await self.inbox.receive([event])

    async def wait(self, fits: Callable[[MatrixOutgoing], bool]) -> tuple[str, MatrixOutgoing]:
        """The first that fits of what the adapter was handed, with its id there."""
        async with asyncio.timeout(10), self._arrived:
            while True:
                for key, message in self.came:
                    if fits(message):
                        return key, message
                await self._arrived.wait()

    async def take(self, message: MatrixOutgoing, sent: Sent) -> Sent:
        """The adapter has handed it over."""
        async with self._arrived:
            if not any(key == sent.ids[0] for key, _ in self.came):  # another try at the same is the same
                self.came.append((sent.ids[0], message))
            self._arrived.notify_all()
        return sent

    async def _say(self, who: str, chat: ChatId, content: Content, reply: MessageId | None) -> str:
        message = self.new_id()
        await self.tell(RemoteMessage(chat, self.sender(who), content, message, reply_to=reply))
        return message

    def _factory(self) -> Any:
        subject = self

        class Connector(EchoConnector):
            """Echo's connector, watched."""

            async def start(self, host: Host, inbox: Inbox) -> None:
                subject.host, subject.inbox = host, inbox
                await super().start(host, inbox)

            def client(self, login: Login | None, inbox: Inbox) -> EchoClient:
                return _Client(subject, self.meta.id, self._config, inbox)

        return Connector


class _Client(EchoClient):
    """Echo's client, watched."""

    def __init__(self, subject: EchoSubject, network: NetworkId, config: EchoConfig, inbox: Inbox) -> None:
        super().__init__(network, RemoteSender(RemoteUserId("echo"), config.name), inbox)
        self._subject = subject

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        return await self._subject.take(message, await super().send(message, attempt))

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        return await self._subject.take(edit, await super().edit(edit, attempt))

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        return await self._subject.take(redaction, await super().redact(redaction, attempt))

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        return await self._subject.take(reaction, await super().react(reaction, attempt))
