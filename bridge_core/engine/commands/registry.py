"""All commands: found by what was said, checked, run, answered."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RateLimitedError, RejectedError, TransientError
from bridge_core.api.ids import EventId, NetworkId, RoomId, UserId
from bridge_core.engine.commands.command import (
    Answer,
    Call,
    Command,
    NotAllowedError,
    Surety,
    UnknownCommandError,
    UsageError,
)
from bridge_core.engine.commands.dialogues import Dialogues
from bridge_core.engine.commands.words import words_of
from bridge_core.engine.erasing import Erasing
from bridge_core.engine.permissions import Permission, Permissions
from bridge_core.engine.status import Status

log = structlog.get_logger(__name__)

_LONGEST_ANSWER: Final = 16_000
"""Characters: an event may have 64 KiB."""
_LEFT: Final = "I may not delete messages here: please delete yours, which holds a secret."


class Commands:
    """The registry. Answers in rooms are stored like messages: said once."""

    def __init__(self, permissions: Permissions, status: Status, dialogues: Dialogues, erasing: Erasing) -> None:
        self._permissions = permissions
        self._status = status
        self._dialogues = dialogues
        self._erasing = erasing
        self._commands: dict[str, Command] = {}
        self._short: dict[str, dict[NetworkId, Command]] = {}
        self._networks_of: Callable[[RoomId], Collection[NetworkId]] = lambda room: ()

    def __iter__(self) -> Iterator[Command]:
        """By topic and name."""
        return iter(sorted(self._commands.values(), key=lambda command: (command.topic, command.name)))

    def add(self, *commands: Command) -> None:
        """Take up commands; a name that is there already is a mistake (ValueError)."""
        for command in commands:
            if command.key in self._commands:
                raise ValueError(f"two commands are called {command.name}")
            self._commands[command.key] = command

    def add_of(self, network: NetworkId, name: str, command: Command) -> None:
        """Take up a command of one network, which is also found by `name` alone where only this one can be meant."""
        self.add(command)
        self._short.setdefault(name, {})[network] = command

    def bridged(self, networks_of: Callable[[RoomId], Collection[NetworkId]]) -> None:
        """How to tell which networks a room is bridged to."""
        self._networks_of = networks_of

    def get(self, key: str) -> Command | None:
        """The command with this key (`journal-list`)."""
        return self._commands.get(key)

    def usable(self, level: Permission) -> list[Command]:
        """What somebody of this level may use."""
        return [command for command in self if level >= command.level]

    async def say(
        self,
        event: Mapping[str, Any],
        text: str,
        *,
        private: bool,
        plain: bool = False,
        surety: Surety = Surety.SAID,
    ) -> None:
        """Run what a message says and store the answer. Raises TransientError and RateLimitedError, to be run again.

        `private`: it was said in the sender's management room; `plain`: without the prefix that other rooms need.
        """
        room, sender, event_id = RoomId(event["room_id"]), UserId(event["sender"]), EventId(event["event_id"])
        level = self._permissions.of(sender)
        if level is Permission.BLOCKED:
            return
        try:
            answer = await self._said(event, text, level, private, plain, surety)
        except (TransientError, RateLimitedError):
            raise
        except (UnknownCommandError, UsageError, NotAllowedError) as error:
            answer = Answer(_sentence(str(error)))
        except BridgeError as error:
            answer = Answer(f"That did not work: {error}")
        if answer.text:
            only = sender if answer.alone else None
            await self._status.say(room, shortened(answer.text), about=event_id, key=f"answer\x1f{event_id}", only=only)

    async def call(
        self,
        sender: UserId,
        key: str,
        arguments: Mapping[str, str],
        room: RoomId | None = None,
        surety: Surety = Surety.SAID,
    ) -> Answer:
        """Run a command for a program. `room`: the sender is a member of it, which the caller has checked.

        Raises UnknownCommandError, UsageError, NotAllowedError, and what commands raise.
        """
        level = self._permissions.of(sender)
        command = self._commands.get(key)
        if level is Permission.BLOCKED:
            raise NotAllowedError("you may not use this bridge")
        if command is None:
            raise UnknownCommandError("there is no such command")
        self._allow(command, level)
        return await self._run(command, Call(sender, level, command.check(arguments), room, surety=surety))

    async def _said(
        self, event: Mapping[str, Any], text: str, level: Permission, private: bool, plain: bool, surety: Surety
    ) -> Answer:
        sender = UserId(event["sender"])
        words = words_of(text)
        if private and self._dialogues.asked(sender) and words:
            if len(words) == 1 and words[0].lower() == "cancel":
                await self._dialogues.cancel(sender)
                return Answer("Cancelled.")
            answer = await self._dialogues.answer(sender, event, text)
            if answer is not None:
                return answer
        command, rest = self._find(words, RoomId(event["room_id"]))
        self._allow(command, level)
        room, event_id = RoomId(event["room_id"]), EventId(event["event_id"])
        if command.private and not private:
            note = f".\n{_LEFT}" if command.secret and rest and not await self._erasing.erase(room, event_id) else ""
            told = f"say {command.name} in your management room: invite me to a room of the two of us"
            raise NotAllowedError(f"{told}{note}")
        confirmed, rest = command.confirmed(rest)
        call = Call(sender, level, command.bind(rest), room, event_id, private, plain, confirmed, surety)
        return await self._run(command, call)

    def _find(self, words: Sequence[str], room: RoomId) -> tuple[Command, Sequence[str]]:
        if not words:
            return self._commands["help"], ()
        names = [word.lower() for word in words[:2]]
        found = self._commands.get("-".join(names))
        if found is not None and len(names) == 2:
            return found, words[2:]
        found = self._commands.get(names[0])
        if found is not None:
            return found, words[1:]
        offered = self._short.get(names[0])
        if offered is not None:
            return self._meant(offered, names[0], room), words[1:]
        group = [command.name for command in self if command.name.split()[0] == names[0]]
        if group and len(names) == 1:
            return self._commands["help"], names
        if group:
            raise UnknownCommandError(f"I do not know that command. There are: {', '.join(group)}.")
        # The word itself is not repeated: it may be a password that was typed too late. Of a group its first word is
        # offered, which only lists what is in it: who takes up an offer without thinking breaks nothing.
        near = get_close_matches(names[0][:40], {*self._short, *(command.name.split()[0] for command in self)}, 1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UnknownCommandError(f"I do not know that command.{meant} Say help for what I can do.")

    def _meant(self, offered: Mapping[NetworkId, Command], name: str, room: RoomId) -> Command:
        here = [offered[network] for network in self._networks_of(room) if network in offered]
        found = here or list(offered.values())
        if len(found) > 1:
            raise UnknownCommandError(f"which network? Say one of: {', '.join(sorted(one.name for one in found))}")
        return found[0]

    def _allow(self, command: Command, level: Permission) -> None:
        if level < command.level:
            raise NotAllowedError(f"you may not use {command.name}: it needs the level {command.level.name.lower()}")

    async def _run(self, command: Command, call: Call) -> Answer:
        shown = {name: value for name, value in call.arguments.items() if name not in command.secret}
        log.info("command", command=command.name, sender=call.sender, room=call.room)
        log.debug("command_arguments", command=command.name, arguments=shown)
        left = await self._is_left(command, call)
        try:
            answer = await self._asked(command, call) or await command.run(call)
        except BridgeError as error:
            log.info("command_failed", command=command.name, sender=call.sender, error=str(error))
            if not left or isinstance(error, TransientError | RateLimitedError):
                raise
            raise RejectedError(f"{error}\n{_LEFT}") from error
        return replace(answer, text=f"{_LEFT}\n{answer.text}") if left else answer

    async def _asked(self, command: Command, call: Call) -> Answer | None:
        """What is said instead of doing it, where it has to be confirmed first."""
        follows = await command.asks(call) if command.asks is not None and not call.confirmed else ""
        if not follows:
            return None
        again = command.again(call) if call.plain else f"!bridge {command.again(call)}"
        return Answer(f"{follows}\nNothing is done yet. To do it, say: {again}", {"asked": True})

    async def _is_left(self, command: Command, call: Call) -> bool:
        """Whether a secret that was said in a room stays there: who may take it back does."""
        if call.room is None or call.event is None or not any(call.get(name) for name in command.secret):
            return False
        return not await self._erasing.erase(call.room, call.event)


def shortened(text: str) -> str:
    """An answer that fits into an event."""
    return text if len(text) <= _LONGEST_ANSWER else f"{text[:_LONGEST_ANSWER]}\n\u2026"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "?", "!")) else ".")
