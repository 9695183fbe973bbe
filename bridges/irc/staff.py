"""The network's staff command the bridge by private messages to the bot; only who certainly is staff is heard."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError
from bridge_core.api.ids import UserId
from bridges.irc.codec.casemap import fold_ascii
from bridges.irc.codec.message import Line
from bridges.irc.codec.wildcard import wild_match
from bridges.irc.floor import Floor
from bridges.irc.joins import Places
from bridges.irc.session import Session
from bridges.irc.state import NetworkState

log = structlog.get_logger(__name__)
_BURST: Final = 10.0
_PER_SECOND: Final = 0.5
_LINES_AT_MOST: Final = 20
_WIDTH: Final = 300
_HELP: Final = (
    "status, channels, users [SERVER], whois NICK, block USER|SERVER [REASON], unblock USER|SERVER, blocks,",
    "kick USER [REASON], revoke LINK|MSGID|USER (links to files), leave #CHANNEL [REASON], stop [REASON], start.",
    "Users and servers are Matrix ones, @user:server and server, with * and ? for many.",
)


class StaffDesk:
    """Staff's commands during one session of the observer."""

    def __init__(self, state: NetworkState, session: Session, places: Places, floor: Floor) -> None:
        self._state = state
        self._session = session
        self._places = places
        self._floor = floor
        self._tokens, self._at = _BURST, 0.0
        self._running: asyncio.Task[None] | None = None
        self._commands: dict[str, tuple[int, Callable[[str, Sequence[str]], Awaitable[Sequence[str]]]]] = {
            "help": (0, self._help),
            "status": (0, self._status),
            "channels": (0, self._channels),
            "users": (0, self._users),
            "whois": (1, self._whois),
            "block": (1, self._block),
            "unblock": (1, self._unblock),
            "blocks": (0, self._blocks),
            "kick": (1, self._kick),
            "revoke": (1, self._revoke),
            "leave": (1, self._leave),
            "stop": (0, self._stop),
            "start": (0, self._start),
        }

    def said(self, line: Line, text: str) -> bool:
        """Somebody wrote to the bot; whether it was a command of staff, which is done in the background."""
        settings = self._state.config.staff
        if not settings.accounts and not settings.masks:
            return False
        words = text.split()
        if not words or words[0].lower() not in self._commands:
            return False
        by = self.staff(line)
        if not by or not self._allowed():
            return bool(by)
        nick = line.source.nick if line.source is not None else ""
        needed, run = self._commands[words[0].lower()]
        if len(words) <= needed:
            self._session.tell("NOTICE", nick, "What? Say help for how to write it.")
            return True
        self._running = self._state.running.tasks.spawn(
            self._run(nick, by, run, words[1:]), f"irc {self._state.network} staff"
        )
        return True

    def staff(self, line: Line) -> str:
        """Who of the staff sent a line, as they are called in what is written down; empty for nobody of them.

        An account counts as the server names it with the line itself (IRCv3 account-tag), never by nick.
        """
        source = line.source
        if source is None or not source.user or not source.host:
            return ""
        account = line.tags.get("account", "") if "account-tag" in self._session.caps.enabled else ""
        mask = f"{source.nick}!{source.user}@{source.host}"
        settings = self._state.config.staff  # as it is now: who was taken off the list commands nothing any more
        if account and fold_ascii(account) in map(fold_ascii, settings.accounts):
            return f"{account} ({mask})"
        folded = fold_ascii(mask)
        return mask if any(wild_match(fold_ascii(one), folded) for one in settings.masks) else ""

    async def _run(
        self, nick: str, by: str, run: Callable[[str, Sequence[str]], Awaitable[Sequence[str]]], words: Sequence[str]
    ) -> None:
        try:
            answer = await run(by, words)
        except BridgeError as error:
            answer = [f"That did not work: {error}"]
        for text in answer[:_LINES_AT_MOST]:
            self._session.tell("NOTICE", nick, text)
        if len(answer) > _LINES_AT_MOST:
            self._session.tell("NOTICE", nick, f"... and {len(answer) - _LINES_AT_MOST} lines more")

    # The commands

    async def _help(self, by: str, words: Sequence[str]) -> Sequence[str]:
        return _HELP

    async def _status(self, by: str, words: Sequence[str]) -> Sequence[str]:
        staff = self._state.running.staff
        contact = self._state.config.contact or "nobody named a contact"
        return [
            f"{len(self._places)} channels, {len(staff.users())} Matrix users with connections of their own, "
            f"{len(staff.blocked())} blocks. Admin: {contact}"
        ]

    async def _channels(self, by: str, words: Sequence[str]) -> Sequence[str]:
        return _wrapped([str(chat) for chat in self._places]) or ["None."]

    async def _users(self, by: str, words: Sequence[str]) -> Sequence[str]:
        users = self._state.running.staff.users()
        if not words:
            servers = Counter(user.partition(":")[2] for user in users)
            return _wrapped([f"{server} ({count})" for server, count in servers.most_common()]) or ["None."]
        found = [user for user in users if wild_match(words[0].lower(), user.partition(":")[2].lower())]
        return _wrapped([f"{user} ({self._state.nick_of(user) or 'not connected'})" for user in found]) or ["None."]

    async def _whois(self, by: str, words: Sequence[str]) -> Sequence[str]:
        person = self._state.roster.get(words[0])
        user = self._state.user_of(person.nick if person is not None else words[0])
        return [f"{words[0]} is {user}." if user is not None else f"{words[0]} is no connection of a Matrix user."]

    async def _block(self, by: str, words: Sequence[str]) -> Sequence[str]:
        ended = await self._state.running.staff.block(words[0], by, " ".join(words[1:]))
        return [f"{words[0]} is blocked; {ended} of them had a connection. unblock {words[0]} ends it."]

    async def _unblock(self, by: str, words: Sequence[str]) -> Sequence[str]:
        await self._state.running.staff.unblock(words[0], by)
        return [f"{words[0]} is not blocked any more."]

    async def _blocks(self, by: str, words: Sequence[str]) -> Sequence[str]:
        blocks = self._state.running.staff.blocked()
        return [f"{one.mask}, by {one.by}{f': {one.reason}' if one.reason else ''}" for one in blocks] or ["None."]

    async def _kick(self, by: str, words: Sequence[str]) -> Sequence[str]:
        user = _user(words[0], self._state)
        rooms = await self._state.running.staff.kick(user, by, " ".join(words[1:]))
        still = f" In {rooms.kept} rooms they still are, where the bridge may not remove them." if rooms.kept else ""
        return [
            f"{user} has no connection any more and was removed from {rooms.removed} rooms.{still}",
            "For ten minutes nothing of them crosses. Then they may come back: see block.",
        ]

    async def _revoke(self, by: str, words: Sequence[str]) -> Sequence[str]:
        count = await self._state.running.staff.revoke(words[0], by)
        return [f"The links to {count} files work no more."]

    async def _leave(self, by: str, words: Sequence[str]) -> Sequence[str]:
        chat = self._state.chat_of(words[0])
        if chat is None or self._places.get(chat) is None:
            raise RejectedError(f"the bridge is not in {words[0]}")
        name = by.partition(" ")[0].partition("!")[0]  # what the room is shown: no address of theirs
        self._floor.end(
            chat, f"{name} of the network's staff", f"{by} of the network's staff ended it: {' '.join(words[1:])}"
        )
        await self._state.running.staff.note(f"ended the bridging of {chat} {' '.join(words[1:])}".strip(), by)
        return [f"{chat} is bridged no more. Its operators may allow it again."]

    async def _stop(self, by: str, words: Sequence[str]) -> Sequence[str]:
        await self._state.running.staff.stop(by, " ".join(words))
        return ["Nothing crosses between this network and Matrix any more. start lets it go on."]

    async def _start(self, by: str, words: Sequence[str]) -> Sequence[str]:
        await self._state.running.staff.start(by)
        return ["It goes on."]

    def _allowed(self) -> bool:
        now = self._state.running.clock.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._at) * _PER_SECOND)
        self._at = now
        if self._tokens < 1:
            log.info("irc_staff_too_fast", network=self._state.network)
            return False
        self._tokens -= 1
        return True


def _user(text: str, state: NetworkState) -> UserId:
    """The Matrix user who is named by id or by the nick of their connection. Raises RejectedError."""
    if text.startswith("@") and ":" in text:
        return UserId(text)
    found = state.user_of(text)
    if found is None:
        raise RejectedError(f"{text} is no Matrix user and no connection of one")
    return found


def _wrapped(words: Sequence[str]) -> list[str]:
    """Words in as few lines as fit."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= _WIDTH:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
