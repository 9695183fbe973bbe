"""Which masks Matrix moderators' bans became, so that lifting one lifts exactly that: stored over restarts."""

import json
from collections.abc import Callable, Collection
from typing import Final

import structlog

from bridge_core.api.events import RemoteSender
from bridge_core.api.host import Host
from bridge_core.api.ids import ChatId, RemoteUserId
from bridges.irc import people
from bridges.irc.codec.isupport import Isupport
from bridges.irc.codec.masks import Who, account_mask, host_mask, read_mask
from bridges.irc.faces import Faces
from bridges.irc.roster import Roster

log = structlog.get_logger(__name__)

_PREFIX: Final = "sanction/"
_PEOPLE_AT_MOST: Final = 50_000
_MASKS_AT_MOST: Final = 8
_SEPARATOR: Final = "\x1f"

Key = tuple[ChatId, RemoteUserId]
Off = Callable[[str], bool]


class Sanctions:
    """Bans that came from Matrix: whom, in which channel, by which masks. The oldest is forgotten when there are too
    many: then its mask is the admins' of the channel alone."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._masks: dict[Key, tuple[str, ...]] = {}
        self._fresh: dict[ChatId, set[str]] = {}
        """Masks that nobody has seen set yet: a list that was asked for before lacks them."""

    async def load(self, host: Host) -> None:
        """Reads what earlier processes set."""
        self._host = host
        for key, value in (await host.kv.items(_PREFIX)).items():
            chat, separator, remote = key.removeprefix(_PREFIX).partition(_SEPARATOR)
            try:
                masks = json.loads(value)
                if not separator or not isinstance(masks, list):
                    raise ValueError("not a list of masks")
            except ValueError:
                log.warning("irc_sanction_unreadable", network=host.network, key=key)
                await host.kv.put(key, None)
                continue
            self._masks[ChatId(chat), RemoteUserId(remote)] = tuple(str(mask) for mask in masks)

    def masks(self, chat: ChatId, remote: RemoteUserId) -> tuple[str, ...]:
        """The masks that were set against somebody."""
        return self._masks.get((chat, remote), ())

    async def note(self, chat: ChatId, remote: RemoteUserId, mask: str) -> None:
        """A mask is about to be set against somebody. Returns when that is stored."""
        key = (chat, remote)
        masks = tuple(dict.fromkeys((*self._masks.pop(key, ()), mask)))[-_MASKS_AT_MOST:]
        self._masks[key] = masks
        self._fresh.setdefault(chat, set()).add(mask)
        await self._put(key, json.dumps(masks).encode())
        if len(self._masks) > _PEOPLE_AT_MOST:
            oldest = next(iter(self._masks))
            del self._masks[oldest]
            await self._put(oldest, None)

    def stands(self, chat: ChatId, mask: str) -> None:
        """A mask was seen to be set: every list that is read from now on has it, or it was taken off."""
        fresh = self._fresh.get(chat)
        if fresh is not None:
            fresh.discard(mask)

    def of_mask(self, chat: ChatId, mask: str) -> list[RemoteSender]:
        """Whose last mask this was, now that it is taken off."""
        return self._without(chat, lambda other: other == mask)

    def missing(self, chat: ChatId, there: Collection[str]) -> list[RemoteSender]:
        """Those of whose masks none is in the channel's list any more, as it was read now."""
        fresh = self._fresh.pop(chat, ())
        return self._without(chat, lambda mask: mask not in there and mask not in fresh)

    def forget(self, chat: ChatId, remote: RemoteUserId) -> None:
        """Nothing of ours is set against them any more."""
        if self._masks.pop((chat, remote), None) is not None and self._host is not None:
            _ = self._host.tasks.spawn(self._put((chat, remote), None), "irc sanction")

    def _without(self, chat: ChatId, off: Off) -> list[RemoteSender]:
        found = []
        for (where, remote), masks in [*self._masks.items()]:
            if where != chat or not any(off(mask) for mask in masks):
                continue
            left = tuple(mask for mask in masks if not off(mask))
            if left:
                self._masks[where, remote] = left
            else:
                found.append(RemoteSender(remote))
        return found

    async def _put(self, key: Key, value: bytes | None) -> None:
        assert self._host is not None
        await self._host.kv.put(f"{_PREFIX}{key[0]}{_SEPARATOR}{key[1]}", value)


def mask_of(remote: RemoteUserId, chat: ChatId, roster: Roster, faces: Faces, isupport: Isupport) -> str | None:
    """The mask for a ban: the account where there is one, else the host, else user and host, else the nick.

    One that would name others in the channel too, or users of ours, is not taken: many come from one host. None for
    somebody with an account who is nowhere seen, on a network that has no bans by account.
    """
    person = roster.of(remote)
    name = person.account if person is not None else people.account_of(remote)
    account = account_mask(name or "", isupport)
    if account is not None:
        return account
    if person is None:
        nick = people.nick_of(remote)
        return f"{nick}!*@*" if nick else None
    others = [Who(one.nick, one.user, one.host) for one in roster.people(chat) if one is not person]
    for candidate in (host_mask(person.host), host_mask(person.host) and f"*!{person.user}@{person.host}"):
        if candidate is None or " " in candidate or (person.user and set(person.user) & set("*?!@,")):
            continue
        mask = read_mask(candidate, isupport)
        if not any(mask.names(who) for who in others) and not faces.named(mask):
            return candidate
    return f"{isupport.fold(person.nick)}!*@*"
