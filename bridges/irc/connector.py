"""IRC: one observer that reads all channels and speaks as the relay, and one connection per Matrix user."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

import structlog

from bridge_core.api.commands import AdapterCommand
from bridge_core.api.errors import BridgeError, TransientError
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.info import Advice, Figure, RoomFacts
from bridge_core.api.network import Client, Consent, Grant, Inbox, Login, NetworkMeta, PlaintextLocation
from bridges.irc.access.counsel import counsel
from bridges.irc.access.origin import origin_command
from bridges.irc.asking import about
from bridges.irc.bancommands import BanCommands
from bridges.irc.channelcommands import ChannelCommands
from bridges.irc.config import IrcConfig
from bridges.irc.introduction import advice
from bridges.irc.logins import ACCOUNT, FLOWS, AccountLogin
from bridges.irc.nicks import BadName
from bridges.irc.observer import Observer
from bridges.irc.persona import Persona
from bridges.irc.puppet import Puppet
from bridges.irc.rehearsal import Rehearsal
from bridges.irc.reloading import reload
from bridges.irc.scheduler import Scheduler
from bridges.irc.standings import Standings
from bridges.irc.state import NetworkState
from bridges.irc.trial import Trial
from bridges.irc.usercommands import UserCommands

log = structlog.get_logger(__name__)
_AGAIN: Final = 5.0


class IrcConnector:
    """One IRC network."""

    config_model = IrcConfig

    def __init__(self, network: NetworkId, config: IrcConfig) -> None:
        self._config = config
        self._state = NetworkState(network, config)
        self._bans = self._state.bans
        self._scheduler = Scheduler(config, self._bans)
        self._state.reached = self._scheduler.reachable
        self._standings = Standings(config.hybrid)
        self._observer: Observer | None = None
        self._puppets: WeakValueDictionary[LoginId, Puppet] = WeakValueDictionary()
        self._users = UserCommands(self._state, self._persona)
        flows = FLOWS if config.logins.enabled else ()
        self._meta = NetworkMeta(
            network, network, "irc", PlaintextLocation.SERVER, login_flows=flows, withheld=frozenset(Grant)
        )
        self._lapsing: asyncio.Task[None] | None = None
        self._channels = ChannelCommands(self._state, lambda user: self._puppets.get(LoginId(user)), self._retry)

    @property
    def meta(self) -> NetworkMeta:
        """What the core must know before start."""
        return self._meta

    async def start(self, host: Host, inbox: Inbox) -> None:
        """Reads certificates and what earlier processes learnt. Raises BridgeError for files that cannot be used."""
        self._state.host = host
        await self._state.access.start(host)
        await self._bans.load(host)
        await self._state.sanctions.load(host)
        try:
            keys = {self._state.chat(name): key for name, key in self._config.channels.keys.items()}
        except BadName as error:
            raise BridgeError(f"channels.keys of network {host.network}: {error}") from error
        await self._state.keys.load(host, keys)
        await self._standings.load(host)
        await self._state.partners.load(host)
        await self._state.nickbook.load(host)
        await self._state.autocommands.load(host)
        await self._state.consents.load(host)
        self._lapsing = host.tasks.spawn(self._lapse(), f"irc {host.network} consents")
        self._scheduler.start(host)

    async def stop(self, deadline: float) -> None:
        """Nobody connects or is waited for any more, and the ident server ends; the clients own their tasks."""
        self._scheduler.stop()
        if self._lapsing is not None:
            self._lapsing.cancel()
        await self._state.access.stop()

    async def _lapse(self) -> None:
        """Ends questions that nobody answered in time, for ever."""
        book = self._state.consents
        while True:
            try:
                for chat in book.due():
                    await book.answered(chat, Consent.REFUSED, "", "nobody answered in time")
                    if self._observer is not None:
                        self._observer.lapsed(chat)
                book.changed.clear()
                async with asyncio.timeout(book.next_due()):
                    await book.changed.wait()
            except TimeoutError:
                continue
            except TransientError as error:
                log.info("irc_consent_not_stored", network=self._state.network, error=str(error))
                await self._state.running.clock.sleep(_AGAIN)

    def client(self, login: Login | None, inbox: Inbox) -> Client:
        """The observer for None, a puppet for a login."""
        if self._observer is None:
            self._observer = Observer(self._state, inbox)
        if login is None:
            return self._observer
        puppet = self._puppets[login.id] = Puppet(
            self._state, login, inbox, self._observer, self._scheduler, self._standings
        )
        return puppet

    def _persona(self, user: UserId) -> Persona | None:
        """How a Matrix user appears, who has a client: logins have the ids of their users."""
        puppet = self._puppets.get(LoginId(user))
        return puppet.persona if puppet is not None else None

    def _retry(self, chat: ChatId) -> None:
        if self._observer is not None:
            self._observer.retry(chat)

    def chat(self, text: str) -> ChatId:
        """The channel that `text` names. Raises ValueError in words for admins."""
        return self._state.chat(text)

    # Optional parts of the contract

    def person(self, text: str) -> RemoteUserId:
        """The person whose nick `text` is. Raises ValueError in words for admins."""
        return self._state.person(text)

    def direct_chat(self, user: RemoteUserId) -> ChatId:
        """The conversation with one person: named by their account or nick, as no channel is."""
        return ChatId(user)

    def commands(self) -> Sequence[AdapterCommand]:
        """What users and admins may tell this network."""
        return (
            *self._users.commands(),
            *self._channels.commands(),
            origin_command(self._state.access),
            self._standings.command(),
            *BanCommands(self._bans, self._scheduler).commands(),
        )

    def login(self, user: UserId, flow: str) -> AccountLogin:
        """Logging in to an account of the network's services."""

        async def attempt(settings: Mapping[str, str], secrets: Mapping[str, str]) -> str:
            return await Trial(self._state).account(
                Login(LoginId(user), user, settings[ACCOUNT], False, settings, secrets)
            )

        return AccountLogin(user, flow, attempt)

    async def provide(self, user: UserId, name: str) -> Login | None:
        """The login of any Matrix user, unless puppets are switched off; connected when it first speaks."""
        if not self._config.puppets or self._config.hybrid.puppet == "never":
            return None
        return Login(LoginId(user), user, name, provided=True)

    async def chat_added(self, chat: ChatId) -> None:
        """Joins a channel that has a portal now, in the background, where its operators allow it."""
        if self._observer is not None and self._state.consents.may_enter(chat):
            self._observer.want(chat)

    async def chat_removed(self, chat: ChatId) -> None:
        """Leaves a channel that has no portal any more."""
        if self._observer is not None:
            self._observer.clear_out(chat, "This channel is not bridged any more")
        await self._state.consents.forget(chat)

    def advise(self) -> Iterable[Advice]:
        """What networks expect of a bridge and these settings lack."""
        return (*advice(self._config), *counsel(self._config))

    async def wrong(self) -> Sequence[Advice]:
        """What would keep the bot from connecting now: its servers are tried."""
        return await Rehearsal(self._config, self._state.access).wrong()

    def reload(self, settings: IrcConfig) -> Sequence[str]:
        """Takes over what can change while connections last (`reloading.LIVE`); the keys of the rest."""
        return reload(self._state, settings)

    def figures(self) -> Iterable[Figure]:
        """What the connections do, who waits for one and why, whom the network bans, and how channels are joined."""
        yield from self._state.meter.figures()
        waiting: dict[tuple[str, ...], float] = {(cause,): count for cause, count in self._scheduler.waiting.items()}
        yield Figure("irc_waiting", "Users who wait for a connection, by what for.", waiting, ("cause",))
        users, addresses = self._bans.counts
        banned: dict[tuple[str, ...], float] = {("user",): users, ("address",): addresses}
        yield Figure("irc_banned", "Users and addresses that the network bans.", banned, ("what",))
        stages = self._observer.stages() if self._observer is not None else {}
        channels: dict[tuple[str, ...], float] = {(stage.value,): count for stage, count in stages.items()}
        yield Figure("irc_channels", "Channels of the bot, by how far joining is.", channels, ("stage",))

    def absent(self, chat: ChatId, users: Collection[UserId]) -> Mapping[UserId, str] | None:
        """Those who are not in the channel by a connection of their own."""
        return self._observer.absent(chat, users) if self._observer is not None else None

    async def consent(self, chat: ChatId, asked_by: UserId, room: RoomFacts | None) -> Consent:
        """What the channel's operators say, who are asked if nobody has asked them; see `ConsentSettings`."""
        word = await self._state.consents.ask(chat, asked_by, about(room))
        await self.chat_added(chat)
        return word
