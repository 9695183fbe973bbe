"""IRC networks for the conformance kit: raw clients on real servers are the people there."""

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any, ClassVar, Protocol

import aiohttp

from bridge_core.api.ids import ChatId, RemoteUserId
from bridge_core.testing.conformance import Feature, Heard, LoginWay, Subject
from bridges.irc.demo.options import ServerOptions
from bridges.irc.demo.server import DemoIrcServer
from bridges.irc.demo.witness import Received, Witness
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

_CAPS = ("message-tags", "server-time", "account-tag", "echo-message", "draft/message-redaction")
_LINK = re.compile(r"<(http://\S+)>")
_BOT = "brdg"
_NUMBERS = itertools.count(1)


class Ircd(Protocol):
    """A server on loopback."""

    port: Any


class IrcSubject(Subject):
    """People are raw clients with the nicks `annN` and `bobN`."""

    features: ClassVar[frozenset[Feature]] = frozenset(
        {Feature.FILES, Feature.MEMBERS, Feature.MODERATION, Feature.INFO, Feature.CONSENT}
    )

    def __init__(self) -> None:
        self._server: Ircd | None = None
        self._people: dict[str, Witness] = {}
        self._inside: dict[str, set[str]] = {}
        self._number = next(_NUMBERS)
        self._left: set[ChatId] = set()
        """Channels whose operators do not want them bridged: the bot does not enter these."""

    async def _serve(self, folder: Path) -> Ircd:
        raise NotImplementedError

    async def _end(self, server: Ircd) -> None:
        raise NotImplementedError

    async def open(self, folder: Path) -> None:
        self._server = await self._serve(folder)

    async def close(self) -> None:
        for person in self._people.values():
            await person.close()
        if self._server is not None:
            await self._end(self._server)

    def section(self) -> dict[str, Any]:
        assert self._server is not None
        fast = {
            "rate": 0,
            "connect_rate": 0,
            "hybrid": {"puppet": "always"},
            "reconnect_min": 0.1,
            "reconnect_max": 0.5,
            "kick_pause": 0,
        }
        counted = {"messages": {"merge": False}, "backfill": {"initial": 10, "rate": 1000}}
        server = {"server": "127.0.0.1", "port": self._server.port, "tls": False, "nick": _BOT}
        shown = {"members": "eager", "leave_grace": "0s", "typing": True}
        return {
            "type": "irc",
            "grants": ["portals", "private_messages", "puppets"],
            **server,
            **fast,
            **shown,
            **counted,
            "logins": {"enabled": self.login is not None},
        }

    def chats(self, count: int) -> list[str]:
        return [f"#k{self._number}-{number}" for number in range(count)]

    def person(self, who: str) -> RemoteUserId:
        return RemoteUserId(f"{who}{self._number}")

    async def prepare(self, chat: ChatId) -> None:
        await self.client("ann", chat)  # the first one there is its operator

    async def enter(self, chat: ChatId) -> None:
        ann = await self.client("ann", chat)
        if chat in self._left:
            return
        async with asyncio.timeout(60):
            while _BOT not in await _names(ann, chat):
                await asyncio.sleep(0.05)

    async def say(self, who: str, chat: ChatId, text: str, *, reply_to: str | None = None) -> str:
        person = await self.client(who, chat)
        mark = person.mark()
        tags = f"@+draft/reply={reply_to} " if reply_to is not None else ""
        person.raw(f"{tags}PRIVMSG {chat} :{text}")
        if "echo-message" not in person.caps:
            return ""
        said = await person.wait_for(lambda line: _is_said(line, chat, text) and line.nick == person.nick, since=mark)
        return said.tags.get("msgid", "")

    async def heard(self, chat: ChatId, text: str) -> Heard:
        ann = await self.client("ann", chat)
        line = await ann.wait_for(lambda line: _is_said(line, chat, text) and not self._is_person(line.nick))
        return Heard(line.tags.get("msgid", ""), line.nick, line.text, line.tags.get("+draft/reply"))

    async def texts(self, chat: ChatId) -> list[str]:
        ann = await self.client("ann", chat)
        return [line.text for line in ann.messages(chat) if not self._is_person(line.nick)]

    # Features

    async def take_back(self, who: str, chat: ChatId, message: str) -> None:
        (await self.client(who, chat)).raw(f"REDACT {chat} {message}")

    async def taken_back(self, chat: ChatId, message: str) -> None:
        ann = await self.client("ann", chat)
        await ann.wait_for(lambda line: line.command == "REDACT" and line.params[1] == message)

    async def react(self, who: str, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        person = await self.client(who, chat)
        person.raw(f"@+draft/reply={message};+draft/{'un' if removed else ''}react={key} TAGMSG {chat}")

    async def reacted(self, chat: ChatId, message: str, key: str, *, removed: bool = False) -> None:
        ann, tag = await self.client("ann", chat), "+draft/unreact" if removed else "+draft/react"
        await ann.wait_for(
            lambda line: (
                (line.tags.get("+draft/reply"), line.tags.get(tag)) == (message, key) and not self._is_person(line.nick)
            )
        )

    async def send_file(self, who: str, chat: ChatId, data: bytes, name: str) -> None:
        await self.say(who, chat, f"https://files.example/{name}")

    async def got_file(self, chat: ChatId, name: str) -> bytes:
        found = _LINK.search((await self.heard(chat, name)).text)
        assert found is not None
        async with aiohttp.ClientSession() as session, session.get(found[1]) as response:
            assert response.status == 200
            return await response.read()

    async def join(self, who: str, chat: ChatId) -> None:
        await self.client(who, chat)

    async def leave(self, who: str, chat: ChatId) -> None:
        person = await self.client(who, chat)
        person.part(chat)
        self._inside[who].discard(chat)
        await person.sync()

    async def kick(self, who: str, chat: ChatId, by: str) -> None:
        (await self.client(by, chat)).raw(f"KICK {chat} {self.person(who)} :enough")
        self._inside[who].discard(chat)

    async def trust(self, chat: ChatId, name: str) -> None:
        ann = await self.client("ann", chat)
        ann.raw(f"MODE {chat} +o {name}")
        await ann.wait_for(lambda line: line.command == "MODE" and line.params[-1] == name and line.params[0] == chat)

    async def present(self, chat: ChatId, who: str, *, absent: bool = False) -> None:
        ann = await self.client("ann", chat)
        async with asyncio.timeout(60):
            while (self.person(who) in await _names(ann, chat)) is absent:
                await asyncio.sleep(0.05)
        if absent:
            self._inside[who].discard(chat)

    async def set_topic(self, who: str, chat: ChatId, topic: str) -> None:
        (await self.client(who, chat)).raw(f"TOPIC {chat} :{topic}")

    async def has_topic(self, chat: ChatId, topic: str) -> None:
        ann = await self.client("ann", chat)
        await ann.wait_for(
            lambda line: line.command == "TOPIC" and line.params[0].lower() == chat.lower() and line.text == topic
        )

    async def type(self, who: str, chat: ChatId, typing: bool) -> None:
        (await self.client(who, chat)).raw(f"@+typing={'active' if typing else 'done'} TAGMSG {chat}")

    async def types(self, chat: ChatId) -> None:
        ann = await self.client("ann", chat)
        await ann.wait_for(
            lambda line: (
                line.command == "TAGMSG"
                and line.params[0].lower() == chat.lower()
                and line.tags.get("+typing") == "active"
                and not self._is_person(line.nick)
            )
        )

    async def say_away(self, who: str, chat: ChatId, text: str) -> None:
        await self.say(who, chat, text)

    async def consent(self, who: str, chat: ChatId, granted: bool) -> None:
        person = await self.client(who, chat)
        mark = person.mark()
        if granted:
            self._left.discard(chat)
            person.privmsg(_BOT, f"allow {chat}")
            await person.wait_text("Thank you", since=mark)
        else:
            self._left.add(chat)
            person.privmsg(chat, "!bridge leave")
            await person.wait_for(lambda line: line.command == "PART" and line.nick == _BOT, since=mark)

    # Behind

    async def client(self, who: str, chat: ChatId) -> Witness:
        """Somebody, in the channel."""
        person = self._people.get(who)
        if person is None or person.closed:
            assert self._server is not None
            person = await Witness.connect("127.0.0.1", int(self._server.port), self.person(who), caps=_CAPS)
            self._people[who] = person
            self._inside[who] = set()
        if chat not in self._inside.setdefault(who, set()):
            await person.join(chat)
            self._inside[who].add(chat)
        return person

    def _is_person(self, nick: str) -> bool:
        return nick in (self.person("ann"), self.person("bob"))


class DemoSubject(IrcSubject):
    """The small server of the demo: message tags, ids of messages, and accounts."""

    features = IrcSubject.features | {
        Feature.REPLIES,
        Feature.REACTIONS,
        Feature.REACTION_REMOVALS,
        Feature.TYPING,
        Feature.LOGINS,
        Feature.HISTORY,
        Feature.REDACTIONS,
    }
    login = LoginWay(
        flow="password",
        right=("Mona", "right"),
        wrong=("Mona", "wrong"),
        secrets=frozenset({"right", "wrong"}),
        name="Mona",
    )

    async def _serve(self, folder: Path) -> Ircd:
        server = DemoIrcServer(ServerOptions(accounts={"Mona": "right"}))
        await server.start()
        return server

    async def _end(self, server: Any) -> None:
        await server.stop()


class NgircdSubject(IrcSubject):
    """ngIRCd: plain lines, and nothing else."""

    async def _serve(self, folder: Path) -> Ircd:
        server = NgIRCd(folder)
        await server.start()
        return server

    async def _end(self, server: Any) -> None:
        server.kill()


class InspircdSubject(IrcSubject):
    """InspIRCd: message tags, labelled answers, ids of messages."""

    features = IrcSubject.features | {Feature.REPLIES, Feature.REACTIONS, Feature.REACTION_REMOVALS, Feature.TYPING}

    async def _serve(self, folder: Path) -> Ircd:
        server = InspIRCd(folder)
        await server.start()
        return server

    async def _end(self, server: Any) -> None:
        server.kill()


def _is_said(line: Received, chat: str, text: str) -> bool:
    return line.command in ("PRIVMSG", "NOTICE") and line.params[0].lower() == chat.lower() and text in line.text


async def _names(person: Witness, chat: str) -> set[str]:
    """The nicks in a channel."""
    mark = person.mark()
    person.raw(f"NAMES {chat}")
    await person.wait_for(lambda line: line.command == "366" and line.params[1].lower() == chat.lower(), since=mark)
    lines = [line for line in person.lines[mark:] if line.command == "353"]
    return {name.lstrip("~&@%+").partition("!")[0] for line in lines for name in line.text.split()}
