"""What Matrix users tell the network about themselves: commands beside those of the bridge."""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from bridge_core.api.commands import AdapterCommand, CommandCall, CommandLevel
from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.ids import UserId
from bridges.irc import logins
from bridges.irc.autocommands import CHANNEL, shown
from bridges.irc.codec.message import LineError, parse
from bridges.irc.inquiries import Whois, told
from bridges.irc.nicks import BadName
from bridges.irc.state import NetworkState

_NOT_RAW: Final = frozenset(("PRIVMSG", "NOTICE", "TAGMSG", "BATCH", "JOIN", "QUIT", "NICK", "CAP", "AUTHENTICATE"))
"""What the bridge itself has to know of, or what the chats are for, where it is judged."""
_NONE: Final = ("-", "default", "none")


class Connected(Protocol):
    """How a Matrix user appears: `persona.Persona`."""

    @property
    def nick(self) -> str | None:
        """The nick of the connection; None when there is none."""

    @property
    def account(self) -> str | None:
        """The account it is logged in to."""

    @property
    def certificate(self) -> str | None:
        """The certificate of its login, as PEM."""

    async def rename(self, nick: str) -> None:
        """Takes a nick now. Raises RejectedError, NotConnectedError."""

    async def say(self, command: str, params: Sequence[str]) -> list[str]:
        """Sends a line; what the server answers. Raises RejectedError, NotConnectedError."""

    def reconsider(self) -> None:
        """The wanted nick is another now."""

    async def whois(self, nick: str) -> Whois | None:
        """What the server tells of a nick. Raises the errors of `bridge_core.api.errors`."""


class UserCommands:
    """nick, whois, raw, identity, autocommand, autocommands, forget-autocommands."""

    def __init__(self, state: NetworkState, client: Callable[[UserId], Connected | None]) -> None:
        self._state = state
        self._client = client

    def commands(self) -> Sequence[AdapterCommand]:
        """All of them."""
        secret = ("line",)
        return (
            AdapterCommand("nick", "[NEW_NICK]", "be called otherwise (- for the usual nick)", self._nick),
            AdapterCommand("whois", "NICK", "what the network tells of somebody", self._whois),
            AdapterCommand(
                "raw",
                "LINE...",
                "send a line over your own connection, and be told the answer",
                self._raw,
                CommandLevel.ADMIN,
                private=True,
            ),
            AdapterCommand("identity", "", "your nick, account and certificate there", self._identity, private=True),
            AdapterCommand(
                "autocommand",
                "LINE...",
                "have something said to the services (NickServ ...) at each connection of yours, or, with $CHANNEL in "
                "it, at each joining of a channel",
                self._add,
                private=True,
                secret=secret,
            ),
            AdapterCommand("autocommands", "", "what is said at each connection of yours", self._list, private=True),
            AdapterCommand("forget-autocommands", "", "have nothing said any more", self._forget, private=True),
        )

    async def _nick(self, call: CommandCall) -> str:
        client, book = self._client(call.user), self._state.nickbook
        nick = call.get("new_nick")
        if not nick:
            now = client.nick if client is not None else None
            chosen = book.chosen(call.user)
            here = f"You are called {now} there." if now else "You are not connected now."
            return f"{here} You chose {chosen}." if chosen else here
        if not self._state.config.nicks.choice:
            raise RejectedError("nicks are not chosen on this network")
        if nick.lower() in _NONE:
            await book.choose(call.user, None)
            if client is not None:
                client.reconsider()
            return "You get the usual nick again, as soon as it can be had."
        try:
            self._state.check_own_nick(nick)
        except BadName as error:
            raise RejectedError(str(error)) from None
        if client is not None and client.nick is not None:
            await client.rename(nick)
            await book.choose(call.user, nick)
            client.reconsider()
            return f"You are called {client.nick} now."
        await book.choose(call.user, nick)
        return f"You are called {nick} from your next connection on, if nobody else is."

    async def _whois(self, call: CommandCall) -> str:
        try:
            nick = self._state.check_nick(call["nick"].removeprefix("@"))
        except BadName as error:
            raise RejectedError(str(error)) from None
        client = self._client(call.user)
        if client is None or client.nick is None:
            raise NotConnectedError("you have no connection to the network now")
        found = await client.whois(nick)
        return told(found) if found is not None else f"Nobody is called {nick} there."

    async def _raw(self, call: CommandCall) -> str:
        client = self._client(call.user)
        if client is None or client.nick is None:
            raise NotConnectedError("you have no connection to the network now")
        try:
            line = parse(call["line"].lstrip("/").encode())
        except (LineError, UnicodeEncodeError):
            raise RejectedError("that is not a line of IRC") from None
        if line.command in _NOT_RAW:
            raise RejectedError(f"{line.command} is not sent this way")
        return "\n".join(await client.say(line.command, line.params)) or "The network said nothing to that."

    async def _identity(self, call: CommandCall) -> str:
        client = self._client(call.user)
        now = client.nick if client is not None else None
        lines = [f"You are called {now}." if now else "You are not connected now."]
        if client is not None and client.account:
            lines.append(f"You are logged in to the account {client.account}.")
        elif now:
            lines.append("You are not logged in to an account.")
        pem = client.certificate if client is not None else None
        if pem:
            lines += [
                f"Your certificate has the {name.upper()} {value}." for name, value in logins.fingerprints(pem).items()
            ]
        address = await self._state.access.address(call.user)
        if address is not None:
            lines.append(f"You come from {address}.")
        return "\n".join(lines)

    async def _add(self, call: CommandCall) -> str:
        count = await self._state.autocommands.add(call.user, call["line"])
        when = "at each joining of a channel" if CHANNEL in call["line"] else "at each of your connections"
        return f"It is said {when}; that makes {count}."

    async def _list(self, call: CommandCall) -> str:
        lines = await self._state.autocommands.of(call.user)
        return "\n".join(shown(line) for line in lines) or "None."

    async def _forget(self, call: CommandCall) -> str:
        await self._state.autocommands.clear(call.user)
        return "Nothing is said any more."
