"""A network that does what a test tells it: refuses, loses, delays, confirms late."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from bridge_core.api.commands import AdapterCommand
from bridge_core.api.content import Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import MemberPower, RemoteEvent, RemoteMessage, RemoteSender
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.login import AskUser, Complete, FieldKind, LoginField, LoginFlow, LoginStep, ShowAndWait
from bridge_core.api.matrix import (
    MatrixEdit,
    MatrixMember,
    MatrixMessage,
    MatrixOutgoing,
    MatrixPower,
    MatrixRedaction,
    MatrixSignal,
)
from bridge_core.api.network import (
    Attempt,
    Capabilities,
    Grant,
    History,
    Inbox,
    Level,
    Login,
    LoginState,
    LoginStatus,
    NetworkMeta,
    Sent,
)

Answer = Callable[[MatrixOutgoing, Attempt], Sent]


Tell = Callable[[ChatId, bytes | None, int], History]


class ScriptedConfig(BaseModel):
    """Nothing to configure."""


class Script:
    """What the network was sent, and what it answers. One for each test, shared by all connectors it makes."""

    config_model = ScriptedConfig

    def __init__(self) -> None:
        self.tell: Tell | None = None
        """What the network-wide client tells of a chat's history; None: it cannot."""
        self.asked: list[tuple[ChatId, bytes | None, int]] = []
        self.signals: list[tuple[str | None, MatrixSignal]] = []
        self.sent: list[tuple[str | None, MatrixOutgoing]] = []
        self.attempts: list[tuple[str, int]] = []
        self.answer: Answer = lambda message, attempt: Sent()
        self.idempotent = False
        self.withheld: frozenset[Grant] = frozenset()
        self.provided = False
        self.ready = True
        self.inbox: Inbox | None = None
        self.host: Host | None = None
        self.network = NetworkId("net")
        self.puppets = True
        self.connected: list[str] = []
        self.logged_out: list[str] = []
        self.scanned = asyncio.Event()
        self.edits = False
        """Whether its clients can change and take back what was sent."""
        self.moderates = False
        """Whether its clients have the optional parts Moderates and EntersChats."""
        self.members: dict[ChatId, tuple[RemoteSender, ...]] = {}
        self.powers: tuple[MemberPower, ...] = ()
        self.described: dict[ChatId, ChatInfo] = {}
        """What chats are, where it is not what all of them are."""
        self.admits = True
        self.moved: list[tuple[str | None, str, ChatId]] = []
        """Logins that entered and left chats: (login, `enter` or `leave`, chat)."""
        self.waiting: list[asyncio.Future[Sent]] = []
        self.quoted = 0
        """How many characters its clients want of what a message answers; 0: they have no such part."""
        self.capabilities = Capabilities(default=Level.FULL)
        self.offered: tuple[AdapterCommand, ...] = ()
        """Commands of the network's own."""

    def __call__(self, network: NetworkId, config: Any) -> "ScriptedConnector":
        """As a connector factory."""
        return ScriptedConnector(self, network)

    def later(self, message: MatrixOutgoing, attempt: Attempt) -> Sent:
        """An answer: handed over, the proof comes when the test completes the future."""
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return Sent(confirmation=future)

    def status(self, status: LoginStatus) -> None:
        """The network-wide connection changes."""
        assert self.inbox is not None
        self.inbox.report(LoginState(self.network, None, status))

    def login_status(self, login: str, status: LoginStatus, reason: str = "") -> None:
        """The connection of a login changes."""
        assert self.inbox is not None
        self.inbox.report(LoginState(self.network, LoginId(login), status, reason))

    def texts(self) -> list[str]:
        """The plain texts of all messages sent, in order."""
        return [_text(message) for _, message in self.sent]


def _text(message: MatrixOutgoing) -> str:
    if not isinstance(message, MatrixMessage):
        return type(message).__name__
    first = message.content.text[0]
    return first.text if isinstance(first, Plain) else str(message.content.text)


class ScriptedConnector:
    """A connector under a script."""

    def __init__(self, script: Script, network: NetworkId) -> None:
        self._script = script
        flows = (LoginFlow("password", "Name and password"), LoginFlow("code", "Scan a code"))
        self.meta = NetworkMeta(
            network,
            "Scripted",
            "scripted",
            login_flows=flows,
            idempotent=script.idempotent,
            withheld=script.withheld,
        )

    async def start(self, host: Host, inbox: Inbox) -> None:
        self._script.host, self._script.inbox, self._script.network = host, inbox, self.meta.id

    async def stop(self, deadline: float) -> None:
        pass

    def client(self, login: Login | None, inbox: Inbox) -> "ScriptedClient":
        puppet = login is not None and self._script.puppets
        if self._script.quoted:
            return QuotingClient(self._script, login, inbox)
        if self._script.edits:
            return EditingClient(self._script, login, inbox)
        if self._script.moderates:
            return (ModeratingPuppet if puppet else ModeratingClient)(self._script, login, inbox)
        if login is None and self._script.tell is not None:
            return TellingClient(self._script, login, inbox)
        return PuppetClient(self._script, login, inbox) if puppet else ScriptedClient(self._script, login, inbox)

    def chat(self, text: str) -> ChatId:
        if " " in text:
            raise ValueError("a chat has no spaces")
        return ChatId(text)

    async def provide(self, user: UserId, name: str) -> Login | None:
        return Login(LoginId(user), user, name, provided=True) if self._script.provided else None

    def login(self, user: UserId, flow: str) -> "ScriptedProcess":
        return ScriptedProcess(self._script, flow)

    def commands(self) -> tuple[AdapterCommand, ...]:
        return self._script.offered

    def person(self, text: str) -> RemoteUserId:
        return RemoteUserId(text)

    def direct_chat(self, user: RemoteUserId) -> ChatId:
        return ChatId(f"dm-{user}")


class ScriptedProcess:
    """A login: the password is `secret`, then a code, `1234`; or something to scan until the test says so."""

    def __init__(self, script: Script, flow: str) -> None:
        self._script = script
        self._flow = flow
        self._name = ""
        self._over = False

    async def start(self) -> LoginStep:
        if self._flow == "code":
            return ShowAndWait("Scan this with your phone.", "code-1")
        fields = (LoginField("name", "Name"), LoginField("password", "Password", FieldKind.SECRET))
        return AskUser("Who are you?", fields)

    async def submit(self, answers: Mapping[str, str]) -> LoginStep:
        if "code" in answers:
            return Complete(self._name, self._name.title(), {"name": self._name}, {"token": "t0ken"})
        if answers["password"] != "secret":
            raise RejectedError("the password is wrong")
        self._name = answers["name"]
        kind = FieldKind.CHOICE
        return AskUser("Which code do you see?", (LoginField("code", "Code", kind, choices=("1234", "5678")),))

    async def wait(self) -> LoginStep:
        await self._script.scanned.wait()
        if self._over:
            raise RejectedError("cancelled")
        return Complete("phone", "Phone", {}, {"token": "t0ken"})

    async def cancel(self) -> None:
        self._over = True
        self._script.logged_out.append(f"cancelled {self._flow}")
        self._script.scanned.set()


class ScriptedClient:
    """The network-wide client under a script."""

    def __init__(self, script: Script, login: Login | None, inbox: Inbox) -> None:
        self._script = script
        self._login = login
        self._inbox = inbox

    async def connect(self, cursor: bytes | None) -> None:
        login = self._login.id if self._login else None
        self._inbox.report(LoginState(self._script.network, login, LoginStatus.CONNECTED))
        self._script.connected.append(login or "")

    async def disconnect(self) -> None:
        if self._login is not None and self._login.id in self._script.connected:
            self._script.connected.remove(self._login.id)

    async def log_out(self) -> None:
        assert self._login is not None
        self._script.logged_out.append(self._login.id)

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        return self._take(message, attempt)

    def _take(self, message: MatrixOutgoing, attempt: Attempt) -> Sent:
        self._script.attempts.append((attempt.key, attempt.number))
        sent = self._script.answer(message, attempt)
        self._script.sent.append((self._login.id if self._login else None, replace(message)))
        return sent

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        if chat in self._script.described:
            return self._script.described[chat]
        return ChatInfo(name=f"The {chat}", members=self._script.members.get(chat), powers=self._script.powers)

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        return UserInfo(name=user)

    def capabilities(self, chat: ChatId) -> Capabilities:
        return self._script.capabilities

    async def signal(self, signal: MatrixSignal) -> None:
        self._script.signals.append((self._login.id if self._login else None, signal))


class TellingClient(ScriptedClient):
    """A network-wide client that can tell what was said earlier. Its cursor is the id of a message."""

    def remembers(self) -> bool:
        return True

    async def history(self, chat: ChatId, after: bytes | None, limit: int) -> History:
        assert self._script.tell is not None
        self._script.asked.append((chat, after, limit))
        return self._script.tell(chat, after, limit)

    def reached(self, event: RemoteEvent) -> bytes | None:
        return event.id.encode() if isinstance(event, RemoteMessage) and event.id is not None else None


class QuotingClient(ScriptedClient):
    """A client of a network that does not show what a message answers."""

    def quotes(self, message: MatrixMessage) -> int:
        return self._script.quoted


class EditingClient(ScriptedClient):
    """A client that can change and take back what was sent."""

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        return self._take(edit, attempt)

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        return self._take(redaction, attempt)


class PuppetClient(ScriptedClient):
    """A login's client: it says when it is ready."""

    def ready(self, chat: ChatId) -> bool:
        return self._script.ready

    async def prepare(self, chat: ChatId) -> None:
        pass


class ModeratingClient(ScriptedClient):
    """A client with members that come, go, and are thrown out."""

    async def moderate(self, act: MatrixMember | MatrixPower, attempt: Attempt) -> Sent:
        return self._take(act, attempt)

    async def enter(self, chat: ChatId) -> None:
        if not self._script.admits:
            raise RejectedError("members only")
        self._script.moved.append((self._login.id if self._login else None, "enter", chat))

    async def leave(self, chat: ChatId, reason: str | None) -> None:
        self._script.moved.append((self._login.id if self._login else None, "leave", chat))


class ModeratingPuppet(ModeratingClient, PuppetClient):
    """The same for a login."""
