"""IRC: one observer that reads all channels and speaks as the relay, and one connection per Matrix user."""

from collections.abc import Mapping, Sequence
from weakref import WeakValueDictionary

from bridge_core.api.commands import AdapterCommand
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, LoginId, NetworkId, RemoteUserId, UserId
from bridge_core.api.network import Client, Grant, Inbox, Login, NetworkMeta, PlaintextLocation
from bridges.irc.bans import Bans
from bridges.irc.config import IrcConfig
from bridges.irc.logins import ACCOUNT, FLOWS, AccountLogin
from bridges.irc.observer import Observer
from bridges.irc.puppet import Puppet
from bridges.irc.scheduler import Scheduler
from bridges.irc.state import NetworkState
from bridges.irc.trial import Trial
from bridges.irc.usercommands import UserCommands


class IrcConnector:
    """One IRC network."""

    config_model = IrcConfig

    def __init__(self, network: NetworkId, config: IrcConfig) -> None:
        self._config = config
        self._state = NetworkState(network, config)
        self._bans = Bans(config.ban_pause)
        self._scheduler = Scheduler(config, self._bans)
        self._state.reached = self._scheduler.reachable
        self._observer: Observer | None = None
        self._puppets: WeakValueDictionary[LoginId, Puppet] = WeakValueDictionary()
        self._users = UserCommands(self._state, self._puppet)
        flows = FLOWS if config.logins.enabled else ()
        self._meta = NetworkMeta(
            network, network, "irc", PlaintextLocation.SERVER, login_flows=flows, withheld=frozenset(Grant)
        )

    @property
    def meta(self) -> NetworkMeta:
        """What the core must know before start."""
        return self._meta

    async def start(self, host: Host, inbox: Inbox) -> None:
        """Reads certificates and what earlier processes learnt. Raises BridgeError for files that cannot be used."""
        self._state.host = host
        await self._state.access.start(host)
        await self._bans.load(host)
        await self._state.partners.load(host)
        await self._state.nickbook.load(host)
        await self._state.autocommands.load(host)
        self._scheduler.start(host)

    async def stop(self, deadline: float) -> None:
        """Nobody connects any more, and the ident server ends; the clients own their tasks."""
        self._scheduler.stop()
        await self._state.access.stop()

    def client(self, login: Login | None, inbox: Inbox) -> Client:
        """The observer for None, a puppet for a login."""
        if self._observer is None:
            self._observer = Observer(self._state, inbox)
        if login is None:
            return self._observer
        puppet = self._puppets[login.id] = Puppet(self._state, login, inbox, self._observer, self._scheduler)
        return puppet

    def _puppet(self, user: UserId) -> Puppet | None:
        """The client of a Matrix user, who has one: logins have the ids of their users."""
        return self._puppets.get(LoginId(user))

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
        """What users may tell this network."""
        return self._users.commands()

    def login(self, user: UserId, flow: str) -> AccountLogin:
        """Logging in to an account of the network's services."""

        async def attempt(settings: Mapping[str, str], secrets: Mapping[str, str]) -> str:
            return await Trial(self._state).account(
                Login(LoginId(user), user, settings[ACCOUNT], False, settings, secrets)
            )

        return AccountLogin(user, flow, attempt)

    async def provide(self, user: UserId, name: str) -> Login | None:
        """The login of any Matrix user, unless puppets are switched off; connected when it first speaks."""
        if not self._config.puppets:
            return None
        return Login(LoginId(user), user, name, provided=True)

    async def chat_added(self, chat: ChatId) -> None:
        """Joins a channel that has a portal now, in the background."""
        if self._observer is not None:
            self._observer.want(chat)

    async def chat_removed(self, chat: ChatId) -> None:
        """Leaves a channel that has no portal any more."""
        if self._observer is not None:
            self._observer.unwant(chat)
