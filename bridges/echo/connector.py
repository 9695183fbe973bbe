"""The smallest adapter: a network where one person, Echo, says everything again. Read it first, copy it.

What an adapter must have: a model of its configuration, a Connector, and a Client with `connect`, `send` and what it
knows of chats and people. The rest here (edits, reactions, redactions, and what is in `further.py`, `memory.py` and
`asking.py`) is optional: leave it out, and the core tells users that the network has no such thing.
"""

from pydantic import BaseModel, ConfigDict, Field

from bridge_core.api.events import RemoteEdit, RemoteMessage, RemoteReaction, RemoteRedaction, RemoteSender
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, MessageId, NetworkId, RemoteUserId
from bridge_core.api.info import ChatInfo, UserInfo
from bridge_core.api.matrix import MatrixEdit, MatrixMessage, MatrixReaction, MatrixRedaction
from bridge_core.api.network import (
    Attempt,
    Capabilities,
    Consent,
    Inbox,
    Level,
    Login,
    LoginState,
    LoginStatus,
    NetworkMeta,
    Sent,
)
from bridges.echo.asking import FLOWS, AskedEcho
from bridges.echo.further import FurtherEcho, echo_of
from bridges.echo.memory import Archive, RemembersEcho


class EchoConfig(BaseModel):
    """The network's own part of its configuration."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="Echo", description="What Echo is called.")
    history: int = Field(default=0, ge=0, le=10_000, description="How many things said in a chat Echo remembers.")
    consent: Consent = Field(default=Consent.GRANTED, description="What Echo says to a chat being bridged.")
    logins: bool = Field(default=False, description="Whether people can log in.")


class EchoConnector(AskedEcho):
    """One configured echo network."""

    config_model = EchoConfig

    def __init__(self, network: NetworkId, config: EchoConfig) -> None:
        self.meta = NetworkMeta(network, "Echo", "echo", login_flows=FLOWS if config.logins else (), idempotent=True)
        self._config = config
        self._consent = config.consent
        self._archive = Archive(config.history)

    async def start(self, host: Host, inbox: Inbox) -> None:
        """Nothing to prepare: a real network would keep `host` and open its listeners here."""

    async def stop(self, deadline: float) -> None:
        """Nothing to close."""

    def client(self, login: Login | None, inbox: Inbox) -> "EchoClient":
        """The same for everybody: a login is known by its id alone."""
        echo = RemoteSender(RemoteUserId("echo"), self._config.name)
        if self._config.history:
            return RememberingClient(self._archive, self.meta.id, echo, inbox, login)
        return EchoClient(self.meta.id, echo, inbox, login)

    def chat(self, text: str) -> ChatId:
        """Every word is a chat."""
        if not text or len(text) > 64 or not text.isprintable():
            raise ValueError("a chat is a word of 1 to 64 characters")
        return ChatId(text.lower())


class EchoClient(FurtherEcho):
    """Says again what it is sent. Its ids come from the attempt, so a second try is the same message.

    A client need not inherit anything: what Echo has besides is in `further.py`.
    """

    def __init__(self, network: NetworkId, echo: RemoteSender, inbox: Inbox, login: Login | None = None) -> None:
        super().__init__(echo, inbox)
        self._network = network
        self._login = login

    async def connect(self, cursor: bytes | None) -> None:
        """Connected at once."""
        login = self._login.id if self._login is not None else None
        self._inbox.report(LoginState(self._network, login, LoginStatus.CONNECTED))

    async def disconnect(self) -> None:
        """Nothing to close."""

    async def send(self, message: MatrixMessage, attempt: Attempt) -> Sent:
        """Say it again. It is sent once the echo is stored."""
        said = MessageId(attempt.key)
        reply = message.reply_to.id if message.reply_to else None
        echo = RemoteMessage(message.chat, self._echo, message.content, echo_of(said), reply_to=reply)
        return await self._say(said, echo)

    async def edit(self, edit: MatrixEdit, attempt: Attempt) -> Sent:
        """Change the echo of the message as well."""
        said = MessageId(attempt.key)
        target = echo_of(edit.target.id or MessageId(""))
        return await self._say(said, RemoteEdit(edit.chat, self._echo, target, edit.content, echo_of(said)))

    async def redact(self, redaction: MatrixRedaction, attempt: Attempt) -> Sent:
        """Take back the echo of the message as well."""
        said = MessageId(attempt.key)
        target = echo_of(redaction.target.id or MessageId(""))
        return await self._say(said, RemoteRedaction(redaction.chat, self._echo, target, redaction.reason, said))

    async def react(self, reaction: MatrixReaction, attempt: Attempt) -> Sent:
        """React to what was reacted to."""
        said = MessageId(attempt.key)
        target = reaction.target.id or MessageId("")
        return await self._say(said, RemoteReaction(reaction.chat, self._echo, target, reaction.key, id=said))

    async def chat_info(self, chat: ChatId) -> ChatInfo | None:
        """Chats are known by their name alone."""
        return ChatInfo(name=chat)

    async def user_info(self, user: RemoteUserId) -> UserInfo:
        """There is only Echo."""
        return UserInfo(name=self._echo.name, bot=True)

    def capabilities(self, chat: ChatId) -> Capabilities:
        """Everything comes back as it was."""
        return Capabilities(default=Level.FULL)


class RememberingClient(RemembersEcho, EchoClient):
    """The same with a memory."""

    def __init__(
        self, archive: Archive, network: NetworkId, echo: RemoteSender, inbox: Inbox, login: Login | None = None
    ) -> None:
        super().__init__(network, echo, inbox, login)
        self._archive = archive
