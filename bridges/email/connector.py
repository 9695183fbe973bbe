"""The email adapter: `EmailConnector` is what the bridge starts."""

from collections.abc import Iterable, Mapping, Sequence

from bridge_core.api.commands import AdapterCommand
from bridge_core.api.errors import NotConnectedError
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import Advice, Figure
from bridge_core.api.network import Inbox, Login, NetworkMeta
from bridges.email.chats import OWN, Chat, ChatKind, parse_chat
from bridges.email.client import EmailClient
from bridges.email.codec.addresses import parse_address
from bridges.email.commands import MailCommands
from bridges.email.config.network import EmailConfig
from bridges.email.delivery.commands import QueueCommands
from bridges.email.delivery.counts import Counts
from bridges.email.headcommands import HeadCommands
from bridges.email.mailboxes import Mailboxes
from bridges.email.rehearsal import advice, wrong
from bridges.email.station import Station
from bridges.email.tally import Tally


class EmailConnector:
    """One configured email network."""

    config_model = EmailConfig

    def __init__(self, network: NetworkId, config: EmailConfig) -> None:
        # A second try hands the same mail to the outbox, which has it already.
        self.meta = NetworkMeta(network, "Email", "email", idempotent=True, invited=True, signed=True)
        self._config = config
        self._mailboxes = Mailboxes(config)
        self._queue = QueueCommands()
        self._counts = Counts()
        self._tally = Tally()
        self._station: Station | None = None

    async def start(self, host: Host, inbox: Inbox) -> None:
        """Put the parts together. The rooms of shared mailboxes are looked after once the doors are open."""
        self._station = await Station.made(self._config, host, inbox, self._mailboxes, self._counts, self._tally)
        self._queue.ledger = self._station.post.ledger

    async def stop(self, deadline: float) -> None:
        """The doors were shut with the client; nothing of its own is left to stop."""
        if self._station is not None:
            await self._station.close()

    def client(self, login: Login | None, inbox: Inbox) -> EmailClient:
        """A login is a mailbox from now on."""
        if login is not None:
            self._mailboxes.add(login)
        return EmailClient(self.meta.id, self._config, self._running, inbox, login)

    def _running(self) -> Station:
        if self._station is None:
            raise NotConnectedError("the mail server is not running")
        return self._station

    def chat(self, text: str) -> ChatId:
        """A mailbox, or one of its rooms. Raises ValueError in words."""
        chat = parse_chat(text)
        if self._mailboxes.get(chat.mailbox) is None:
            raise ValueError(f"there is no mailbox {chat.mailbox}; see `mailboxes`")
        return chat.id

    def direct_chat(self, user: RemoteUserId) -> ChatId:
        """The room of all mail with one person, in the mailbox of who asks."""
        return Chat(OWN, ChatKind.CORRESPONDENT, user).id

    def person(self, text: str) -> RemoteUserId:
        """A mail address. Raises ValueError in words."""
        return RemoteUserId(parse_address(text.removeprefix("mailto:")).key)

    async def provide(self, user: UserId, name: str) -> Login | None:
        """An address by the user's name, where the settings say so and it is free, and never was anybody else's."""
        there = self._running()
        address = self._mailboxes.address_for(user, there.host.server)
        if address is None or not await there.owners.take(address, user):
            return None
        return Login(LoginId(address.key), user, name, provided=True)

    def commands(self) -> Sequence[AdapterCommand]:
        """What users tell their mailboxes."""
        return (
            *MailCommands(self._running).commands(),
            *HeadCommands(self._running).commands(),
            *self._queue.commands(),
        )

    def figures(self) -> Iterable[Figure]:
        """What came and what became of it, in and out."""
        yield from self._tally.figures(*(self._station.kept() if self._station is not None else (0, 0, 0)))
        yield from self._counts.figures()

    def advise(self) -> Iterable[Advice]:
        """What should be otherwise in the settings, and files that cannot be read."""
        return advice(self._config)

    async def wrong(self) -> Sequence[Advice]:
        """Whether its doors can be opened, and its smarthosts take the bridge's login."""
        return await wrong(self._config)

    def named(self) -> Mapping[UserId, str]:
        """The members of shared mailboxes."""
        return {
            UserId(user): f"mailboxes.{address}.members"
            for address, section in self._config.mailboxes.items()
            for user in section.members
        }
