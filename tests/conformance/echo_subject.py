"""The echo network for the conformance kit: people speak through the inbox, and what the adapter is handed is heard."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bridge_core.api.content import Attachment, Content, MediaKind, Plain, Poll, PollAnswer
from bridge_core.api.events import (
    Membership,
    RemoteConsent,
    RemoteEdit,
    RemoteEvent,
    RemoteInfo,
    RemoteMember,
    RemoteMembers,
    RemoteMessage,
    RemoteReaction,
    RemoteReceipt,
    RemoteRedaction,
    RemoteSender,
    RemoteTyping,
    RemoteVote,
)
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixInfo,
    MatrixMember,
    MatrixMessage,
    MatrixOutgoing,
    MatrixPower,
    MatrixReaction,
    MatrixRedaction,
    MatrixSignal,
    MatrixTyping,
    MatrixVote,
)
from bridge_core.api.network import Attempt, Inbox, Login, Sent
from bridge_core.content import to_plain
from bridge_core.testing.conformance import Feature, Heard, LoginWay, Subject
from bridges.echo.connector import EchoConfig, EchoConnector, RememberingClient
from bridges.echo.memory import Archive


class EchoSubject(Subject):
    """Echo repeats everything besides, as itself: what `ann` and `bob` do comes through the inbox."""

    features = frozenset(
        {
            *(Feature.REPLIES, Feature.EDITS, Feature.REDACTIONS, Feature.FILES),
            *(Feature.REACTIONS, Feature.REACTION_REMOVALS, Feature.POLLS),
            *(Feature.MEMBERS, Feature.MODERATION, Feature.INFO, Feature.TYPING, Feature.RECEIPTS),
            *(Feature.HISTORY, Feature.PUBLIC_HISTORY, Feature.CONSENT, Feature.LOGINS),
        }
    )
    login = LoginWay(
        "password", ("Walter", "retlaw"), ("Walter", "guessed"), frozenset({"retlaw", "guessed"}), "Walter"
    )

    def __init__(self) -> None:
        self.adapters = {"watched": self._factory()}
        self.host: Host | None = None
        self.inbox: Inbox | None = None
        self.came: list[tuple[str, MatrixOutgoing]] = []
        self.signals: list[MatrixSignal] = []
        self.archive = Archive(1000)
        """What the network keeps, whether the bridge is there or not."""
        self._speakers: dict[str, str] = {}
        self._polls: dict[str, Poll] = {}
        self._inside: dict[ChatId, set[str]] = {}
        self._arrived = asyncio.Condition()
        self._numbers = itertools.count(1)

    def section(self) -> dict[str, Any]:
        relay = {"enabled": True, "reactions": True, "polls": True}
        further = {"history": 1000, "consent": "asked", "logins": True, "backfill": {"initial": 10, "rate": 1000}}
        return {"type": "watched", "members": "eager", "leave_grace": "0s", "relay": relay, **further}

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
        by = self._speakers.get(key, message.sender.name)
        return Heard(key, by, to_plain(message.content.text), reply)

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

    async def poll(self, who: str, chat: ChatId, question: str, answers: Sequence[str]) -> str:
        poll = Poll(question, tuple(PollAnswer(str(number), text) for number, text in enumerate(answers)))
        return await self._say(who, chat, Content((Plain(question),), poll=poll), None)

    async def vote(self, who: str, chat: ChatId, poll: str, answer: int) -> None:
        chosen = (self._polls[poll].answers[answer].id,)
        await self.tell(RemoteVote(chat, self.sender(who), MessageId(poll), chosen, self.new_id()))

    async def polled(self, chat: ChatId, question: str) -> tuple[str, list[str]]:
        def poll_of(message: MatrixOutgoing) -> Poll | None:
            return message.content.poll if isinstance(message, MatrixMessage) and message.chat == chat else None

        key, message = await self.wait(lambda m: (poll := poll_of(m)) is not None and poll.question == question)
        poll = poll_of(message)
        assert poll is not None
        self._polls[key] = poll
        return key, [answer.text for answer in poll.answers]

    async def voted(self, chat: ChatId, poll: str, answer: int) -> None:
        chosen = (self._polls[poll].answers[answer].id,)
        await self.wait(lambda m: isinstance(m, MatrixVote) and m.target.id == poll and m.answers == chosen)

    async def join(self, who: str, chat: ChatId) -> None:
        self._inside.setdefault(chat, set()).add(who)
        await self.tell(RemoteMember(chat, self.sender(who), Membership.JOIN))

    async def leave(self, who: str, chat: ChatId) -> None:
        self._inside[chat].discard(who)
        if self.connected:
            await self.tell(RemoteMember(chat, self.sender(who), Membership.LEAVE))

    async def kick(self, who: str, chat: ChatId, by: str) -> None:
        self._inside[chat].discard(who)
        await self.tell(RemoteMember(chat, self.sender(who), Membership.KICK, self.sender(by), "enough"))

    async def enter(self, chat: ChatId) -> None:
        people = self._inside.setdefault(chat, set())
        people.add("ann")
        await self.tell(RemoteMembers(chat, tuple(self.sender(who) for who in sorted(people))))

    async def present(self, chat: ChatId, who: str, *, absent: bool = False) -> None:
        if absent:
            await self.wait(lambda m: isinstance(m, MatrixMember) and m.chat == chat and m.remote == who)

    async def set_topic(self, who: str, chat: ChatId, topic: str) -> None:
        await self.tell(RemoteInfo(chat, self.sender(who), topic=topic))

    async def has_topic(self, chat: ChatId, topic: str) -> None:
        await self.wait(lambda m: isinstance(m, MatrixInfo) and m.chat == chat and m.topic == topic)

    async def type(self, who: str, chat: ChatId, typing: bool) -> None:
        await self.tell(RemoteTyping(chat, self.sender(who), 30 if typing else 0))

    async def types(self, chat: ChatId) -> None:
        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(
                lambda: any(isinstance(one, MatrixTyping) and one.chat == chat and one.started for one in self.signals)
            )

    async def read(self, who: str, chat: ChatId, message: str) -> None:
        await self.tell(RemoteReceipt(chat, self.sender(who), MessageId(message)))

    async def say_away(self, who: str, chat: ChatId, text: str) -> None:
        self.archive.keep(RemoteMessage(chat, self.sender(who), Content((Plain(text),)), self.new_id()))

    async def publish(self, chat: ChatId) -> None:
        self.archive.public.add(chat)

    async def consent(self, who: str, chat: ChatId, granted: bool) -> None:
        await self.tell(RemoteConsent(chat, self.sender(who), granted))

    # Behind

    @property
    def connected(self) -> bool:
        """Whether the bridge runs."""
        return self.inbox is not None

    def sender(self, who: str) -> RemoteSender:
        """Somebody, with a name."""
        return RemoteSender(RemoteUserId(who), who.capitalize())

    def new_id(self) -> MessageId:
        """An id that nobody used."""
        return MessageId(f"p{next(self._numbers)}")

    async def tell(self, event: RemoteEvent) -> None:
        """The network says so."""
        assert self.inbox is not None
        self.archive.keep(event)
        await self.inbox.receive([event])

    async def wait(self, fits: Callable[[MatrixOutgoing], bool]) -> tuple[str, MatrixOutgoing]:
        """The first that fits of what the adapter was handed, with its id there."""
        async with asyncio.timeout(60), self._arrived:
            while True:
                for key, message in self.came:
                    if fits(message):
                        return key, message
                await self._arrived.wait()

    async def notice(self, signal: MatrixSignal) -> None:
        """The adapter has seen it."""
        async with self._arrived:
            self.signals.append(signal)
            self._arrived.notify_all()

    async def take(self, message: MatrixOutgoing, sent: Sent, login: Login | None = None) -> Sent:
        """The adapter has handed it over, over the connection of a login perhaps."""
        async with self._arrived:
            if login is not None:
                self._speakers[sent.ids[0]] = login.name
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
                self._archive = subject.archive
                await super().start(host, inbox)

            async def stop(self, deadline: float) -> None:
                subject.inbox = None
                await super().stop(deadline)

            def client(self, login: Login | None, inbox: Inbox) -> RememberingClient:
                return _Client(subject, self.meta.id, self._config, inbox, login)

        return Connector


class _Client(RememberingClient):
    """Echo's client, watched."""

    def __init__(
        self, subject: EchoSubject, network: NetworkId, config: EchoConfig, inbox: Inbox, login: Login | None
    ) -> None:
        echo = RemoteSender(RemoteUserId("echo"), config.name)
        super().__init__(subject.archive, network, echo, inbox, login)
        self._subject = subject

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        return await self._subject.take(message, await super().send(message, attempt), self._login)

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        return await self._subject.take(edit, await super().edit(edit, attempt), self._login)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        return await self._subject.take(redaction, await super().redact(redaction, attempt), self._login)

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        return await self._subject.take(reaction, await super().react(reaction, attempt), self._login)

    async def vote(self, vote: MatrixVote, attempt: Attempt) -> Sent:
        return await self._subject.take(vote, await super().vote(vote, attempt), self._login)

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        return await self._subject.take(act, await super().moderate(act, attempt), self._login)

    async def change_info(self, info: MatrixInfo, attempt: Attempt) -> Sent:
        return await self._subject.take(info, await super().change_info(info, attempt), self._login)

    async def signal(self, signal: MatrixSignal) -> None:
        await super().signal(signal)
        await self._subject.notice(signal)
