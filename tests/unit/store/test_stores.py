"""The contract of every store, on both databases."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from bridge_core.api.ids import ChatId, EventId, LoginId, MessageId, NetworkId, RemoteUserId, RoomId, UserId
from bridge_core.api.network import Login
from bridge_core.engine.ports import Write
from bridge_core.engine.store_ports import GhostRow, MessageRow, PortalRow, UserRow
from bridge_core.store.database import Database
from bridge_core.store.media import MediaRow
from bridge_core.store.work import Work
from tests.unit.store.opening import Opened

IRC = NetworkId("irc")
ROOM, OTHER = RoomId("!room:hs"), RoomId("!other:hs")
EVENT = EventId("$event")
NASTY = "quote \" backslash \\ brace {} comma , null 'NULL' percent % unicode 🦊\n"


async def commit(database: Database, *writes: Write) -> None:
    work = Work()
    work.write(writes)
    await database.writer.commit(work)


async def test_portals_are_kept_with_their_rooms_in_order(database_url: str, opened: Opened) -> None:
    """A portal comes back as it was saved, with an id of its own, and can be replaced and removed."""
    store = (await opened(database_url)).portals
    first = await store.save(PortalRow(0, IRC, ChatId(NASTY), None, (OTHER, ROOM), NASTY, NASTY, {"a": [1, NASTY]}))
    second = await store.save(PortalRow(0, IRC, ChatId("#b"), LoginId("me"), ()))
    assert await store.all() == [first, second]
    assert first.id != second.id
    changed = PortalRow(first.id, IRC, ChatId("#c"), None, (ROOM,), "new")
    assert await store.save(changed) == changed
    await store.delete(second.id)
    assert await store.all() == [changed]


async def test_portal_ids_are_never_used_again(database_url: str, opened: Opened) -> None:
    """The next portal gets an id that no portal ever had, also after the last was deleted and after a restart."""
    database = await opened(database_url)
    first = await database.portals.save(PortalRow(0, IRC, ChatId("#a"), None, ()))
    await database.portals.delete(first.id)
    second = await database.portals.save(PortalRow(0, IRC, ChatId("#b"), None, ()))
    await database.portals.delete(second.id)
    await database.stop()
    third = await (await opened(database_url)).portals.save(PortalRow(0, IRC, ChatId("#c"), None, ()))
    assert len({first.id, second.id, third.id}) == 3


async def test_a_portal_deleted_by_an_older_version_keeps_its_id(database_url: str, opened: Opened) -> None:
    """Ids given out before they were noted are not given out again either."""
    database = await opened(database_url)
    old = await database.portals.save(PortalRow(7, IRC, ChatId("#old"), None, ()))
    await database.portals.delete(old.id)
    assert (await database.portals.save(PortalRow(0, IRC, ChatId("#new"), None, ()))).id > old.id


async def test_a_chat_is_saved_once(database_url: str, opened: Opened) -> None:
    """Whoever asks for a new row of a chat that has one gets that one, with its rooms; a receiver's is another."""
    store = (await opened(database_url)).portals
    row = PortalRow(0, IRC, ChatId("#a"), None, (OTHER, ROOM), "name", "topic", {"a": 1})
    first, second, private = await asyncio.gather(
        store.save(row),
        store.save(replace(row, rooms=(), name="other")),
        store.save(replace(row, receiver=LoginId("me"))),
    )
    assert second == first
    assert private.id != first.id
    assert await store.all() == [first, private]


async def test_deleting_a_portal_removes_its_message_map(database_url: str, opened: Opened) -> None:
    """After a portal is gone, none of its events is known, not even from memory."""
    database = await opened(database_url)
    portal = await database.portals.save(PortalRow(0, IRC, ChatId("#a"), None, (ROOM,)))
    await commit(database, database.messages.write(portal.id, MessageId("m"), 0, ROOM, EVENT, "nick", 5))
    assert await database.messages.by_event(ROOM, EVENT)
    await database.portals.delete(portal.id)
    assert await database.messages.by_event(ROOM, EVENT) == []
    assert await database.messages.by_message(portal.id, MessageId("m")) == []


async def test_ghosts_are_found_both_ways(database_url: str, opened: Opened) -> None:
    """A ghost is found by person and by Matrix user, before and after a restart; a missing one is None, then found."""
    database = await opened(database_url)
    row = GhostRow(IRC, RemoteUserId(NASTY), UserId("@irc_nick:hs"), None, NASTY, None)
    assert await database.ghosts.get(IRC, row.remote) is None
    assert await database.ghosts.by_user(row.user) is None
    await database.ghosts.save(row)
    assert await database.ghosts.get(IRC, row.remote) == row
    changed = GhostRow(IRC, row.remote, row.user, "DEVICE", "name", "mxc://a/b")
    await database.ghosts.save(changed)
    await database.stop()
    again = await opened(database_url)
    assert await again.ghosts.get(IRC, row.remote) == changed
    assert await again.ghosts.by_user(row.user) == changed


async def test_memberships_are_known_at_once_and_after_restart(database_url: str, opened: Opened) -> None:
    """Who joined is known from the moment it is set; who left again is not."""
    database = await opened(database_url)
    one, two = UserId("@one:hs"), UserId("@two:hs")
    await database.memberships.set(ROOM, one, True)
    await database.memberships.set(ROOM, two, True)
    await database.memberships.set(ROOM, one, False)
    assert await database.memberships.joined(ROOM) == {two}
    await database.stop()
    again = await opened(database_url)
    assert await again.memberships.joined(ROOM) == {two}
    assert await again.memberships.joined(OTHER) == frozenset()


async def test_messages_are_found_before_they_are_committed(database_url: str, opened: Opened) -> None:
    """A row is found both ways from the moment it is made, together with those from before."""
    database = await opened(database_url)
    write = database.messages.write
    await commit(database, write(1, MessageId(NASTY), 1, ROOM, EventId("$b"), "nick", 5))
    await database.stop()
    again = await opened(database_url)
    write = again.messages.write
    uncommitted = write(1, MessageId(NASTY), 0, ROOM, EVENT, "nick", 5)
    found = await again.messages.by_message(1, MessageId(NASTY))
    assert [(row.part, row.event) for row in found] == [(0, "$event"), (1, "$b")]
    assert await again.messages.by_event(ROOM, EVENT) == [MessageRow(1, MessageId(NASTY), 0, ROOM, EVENT, "nick", 5)]
    await commit(again, uncommitted)
    assert await again.messages.by_message(2, MessageId(NASTY)) == []
    assert await again.messages.by_event(OTHER, EVENT) == []


async def test_a_message_mapped_twice_has_its_last_event(database_url: str, opened: Opened) -> None:
    """A settlement repeated after a crash leaves one row for each place, the last."""
    database = await opened(database_url)
    for event in ("$first", "$second"):
        await commit(database, database.messages.write(1, MessageId("m"), 0, ROOM, EventId(event), "nick", 5))
    assert [row.event for row in await database.messages.by_message(1, MessageId("m"))] == ["$second"]
    await database.stop()
    again = await opened(database_url)
    assert [row.event for row in await again.messages.by_message(1, MessageId("m"))] == ["$second"]


async def test_the_map_outlives_its_cache(database_url: str, opened: Opened) -> None:
    """With a cache of four rows, forty are found all the same."""
    database = await opened(database_url, cached=4)
    for number in range(40):
        await commit(
            database, database.messages.write(1, MessageId(str(number)), 0, ROOM, EventId(f"${number}"), "nick", 5)
        )
    for number in range(40):
        assert [row.event for row in await database.messages.by_message(1, MessageId(str(number)))] == [f"${number}"]


async def test_users_and_logins_come_back(database_url: str, opened: Opened) -> None:
    """Users are found by id and management room; logins come back with their settings, and go when deleted."""
    store = (await opened(database_url)).users
    user = UserRow(UserId("@me:hs"), ROOM, {"language": NASTY})
    await store.change(user.id, lambda row: user)
    assert await store.get(user.id) == user
    assert await store.by_management_room(ROOM) == user
    assert await store.get(UserId("@other:hs")) is None
    login = Login(LoginId("me@irc"), user.id, NASTY, True, {"server": NASTY}, {"password": NASTY})
    await store.save_login(IRC, login)
    assert await store.logins(IRC) == [login]
    assert await store.logins(NetworkId("xmpp")) == []
    await store.delete_login(IRC, login.id)
    assert await store.logins(IRC) == []


async def test_of_two_changes_of_a_user_neither_is_lost(database_url: str, opened: Opened) -> None:
    """Each change is made of what is kept by then, however many are begun at once."""
    store = (await opened(database_url)).users
    me = UserId("@me:hs")

    def option(name: str) -> Callable[[UserRow], UserRow]:
        return lambda row: replace(row, options={**row.options, name: True})

    names = {str(number) for number in range(8)}
    await asyncio.gather(
        *(store.change(me, option(name)) for name in names),
        store.change(me, lambda row: replace(row, management_room=ROOM)),
    )
    assert await store.get(me) == UserRow(me, ROOM, dict.fromkeys(names, True))


async def test_values_are_kept_and_removed(database_url: str, opened: Opened) -> None:
    """A value is what was put last, None once removed; prefixes are taken literally."""
    database = await opened(database_url)
    await database.kv.put("irc", "a%", b"\0\xff")
    await database.kv.put("irc", "ab", b"two")
    await database.kv.put("plain.irc", "a", b"three")
    assert await database.kv.items("irc", "a%") == {"a%": b"\0\xff"}
    assert await database.kv.items("irc", "") == {"a%": b"\0\xff", "ab": b"two"}
    await database.kv.put("irc", "ab", None)
    assert await database.kv.get("irc", "ab") is None
    await database.stop()
    again = await opened(database_url)
    assert await again.kv.get("irc", "a%") == b"\0\xff"
    assert await again.kv.get("irc", "ab") is None
    assert await again.kv.get("plain.irc", "a") == b"three"
    assert await again.kv.items("irc", "a") == {"a%": b"\0\xff"}


async def test_a_transaction_is_known_by_id_and_digest(database_url: str, opened: Opened) -> None:
    """The same id with another body is another transaction, also after a restart."""
    database = await opened(database_url)
    write = database.transactions.write("1", b"digest", 5)
    assert not await database.transactions.seen("1", b"digest")
    await commit(database, write)
    database.applied([write])
    assert await database.transactions.seen("1", b"digest")
    await database.stop()
    again = await opened(database_url)
    assert await again.transactions.seen("1", b"digest")
    assert not await again.transactions.seen("1", b"other")


async def test_media_addresses_and_revoked_links_are_kept(database_url: str, opened: Opened) -> None:
    """An address reserved for a key is found again; a link taken back stays taken back."""
    store = (await opened(database_url)).media
    assert await store.get("key") is None
    await store.save(MediaRow("key", "mxc://hs/a", False, 5))
    await store.save(MediaRow("key", "mxc://hs/a", True, 6))
    assert await store.get("key") == MediaRow("key", "mxc://hs/a", True, 6)
    assert not await store.revoked("link")
    await store.revoke("link", 7)
    assert await store.revoked("link")
