"""The contract of the store of keys, on both databases."""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from bridge_core.api.ids import EventId, RoomId, UserId
from bridge_core.crypto import ports
from bridge_core.crypto.ports import (
    AccountRow,
    CryptoStore,
    InboundRow,
    InboundSaved,
    InboundUsed,
    IndexRow,
    KeysWanted,
    OlmSessionGone,
    OlmSessionRow,
    OutboundRow,
    Outdated,
    Owner,
    RequestGone,
    RequestRow,
    RoomRow,
    SecretRow,
    SharesRow,
    ToDeviceDone,
    ToDeviceRow,
    TrackedRow,
    Used,
    WithheldRow,
)
from bridge_core.store.database import Database
from bridge_core.store.errors import RefusedRowError, UnreadableError
from bridge_core.store.sequence import in_sequence
from bridge_core.store.statements import BY_NAME, IN_SEQUENCE
from bridge_core.store.work import Work
from bridge_core.testing.faults import KILL_AT
from tests.unit.store.opening import Opened

NASTY = "quote \" backslash \\ brace {} comma , null 'NULL' percent % unicode 🦊\n"
BOT, GHOST = Owner(UserId("@bot:hs"), "BOT"), Owner(UserId("@ghost:hs"), NASTY)
ALICE, BOB = UserId("@alice:hs"), UserId(NASTY)
ROOM, OTHER = RoomId("!room:hs"), RoomId(NASTY)
SECRET = b"what is secret: caf\xc3\xa9 \x00"
EVENT = EventId("$event")


async def test_the_store_is_what_the_machine_asks_for(database_url: str, opened: Opened) -> None:
    """The database's store has the port's shape, and its key for pickles depends on the secret alone."""
    store: CryptoStore = (await opened(database_url)).crypto
    assert len(store.pickle_key) == 32
    await store.commit([])
    assert await store.rooms() == []


async def test_accounts(database_url: str, opened: Opened) -> None:
    """Accounts are replaced without losing their mark, and go with their sessions."""
    database = await opened(database_url)
    store = database.crypto
    await store.commit([KeysWanted(BOT, True), AccountRow(BOT, SECRET), AccountRow(GHOST, b"ghost", wanted=True)])
    assert await store.account(BOT) == AccountRow(BOT, SECRET)
    assert await store.wanting(10) == []
    assert sorted(await store.owners(), key=str) == sorted([BOT, GHOST], key=str)
    await store.commit([KeysWanted(GHOST, True), KeysWanted(BOT, True)])
    await store.commit([AccountRow(BOT, b"changed")])
    assert await store.account(BOT) == AccountRow(BOT, b"changed", wanted=True)
    assert sorted(await store.wanting(10), key=str) == sorted([BOT, GHOST], key=str)
    assert len(await store.wanting(1)) == 1
    await store.commit([KeysWanted(BOT, False)])
    assert await store.wanting(10) == [GHOST]

    olm, outbound = OlmSessionRow(GHOST, "peer", "s", b"s", 1, 2), OutboundRow(GHOST, ROOM, b"o")
    mine = replace(olm, owner=BOT)
    await store.commit([olm, mine, outbound])
    assert await store.outbound(GHOST, ROOM) == outbound
    assert await store.olm_sessions(BOT, ["peer"]) == [mine]
    await database.stop()
    again = (await opened(database_url)).crypto
    assert await again.account(BOT) == AccountRow(BOT, b"changed")


async def test_tracked_users(database_url: str, opened: Opened) -> None:
    """A put never lowers the mark, nor does an older mark; users that are not tracked get none."""
    store = (await opened(database_url)).crypto
    await store.commit([TrackedRow(ALICE, SECRET, 0, 3), TrackedRow(BOB, b"b", 0), Outdated(UserId("@no:hs"), 9)])
    await store.commit([Outdated(ALICE, 5), Outdated(ALICE, 4), Outdated(BOB, 1)])
    await store.commit([TrackedRow(ALICE, b"new", 4, 1)])
    many = [ALICE, BOB, *[UserId(f"@{number}:hs") for number in range(1500)]]
    found = {row.user: row for row in await store.tracked(many)}
    assert found == {ALICE: TrackedRow(ALICE, b"new", 4, 5), BOB: TrackedRow(BOB, b"b", 0, 1)}


async def test_olm_sessions(database_url: str, opened: Opened) -> None:
    """Sessions are found by many identity keys at once, each device's own, and are replaced and removed singly."""
    store = (await opened(database_url)).crypto
    rows = [OlmSessionRow(BOT, f"peer{number}", NASTY, b"%d" % number, number, number) for number in range(300)]
    await store.commit([*rows, replace(rows[0], owner=GHOST), replace(rows[0], session="second")])
    found = await store.olm_sessions(BOT, [row.peer for row in rows[1:]])
    assert sorted(found, key=lambda row: row.created_at) == rows[1:]
    assert len(await store.olm_sessions(BOT, ["peer0"])) == 2
    await store.commit([replace(rows[0], value=b"used", used_at=9), OlmSessionGone(BOT, "peer0", "second")])
    assert await store.olm_sessions(BOT, ["peer0", "nobody"]) == [replace(rows[0], value=b"used", used_at=9)]
    assert await store.olm_sessions(BOT, []) == []


async def test_outbound_sessions_and_their_shares(database_url: str, opened: Opened) -> None:
    """A device has one outbound session in a room; what was shared is kept by part."""
    store = (await opened(database_url)).crypto
    await store.commit([OutboundRow(BOT, ROOM, b"1"), OutboundRow(BOT, OTHER, b"2"), OutboundRow(BOT, ROOM, SECRET)])
    assert await store.outbound(BOT, ROOM) == OutboundRow(BOT, ROOM, SECRET)
    assert await store.outbound(BOT, OTHER) == OutboundRow(BOT, OTHER, b"2")
    parts = [SharesRow(ROOM, "s", part, b"%d" % part, 5) for part in (1, 0, 2)]
    await store.commit([*parts, replace(parts[0], session="t")])
    await store.commit([replace(parts[0], value=b"more", at=6)])
    assert await store.shares(ROOM, "s") == [parts[1], replace(parts[0], value=b"more", at=6), parts[2]]


async def test_inbound_sessions_and_their_indexes(database_url: str, opened: Opened) -> None:
    """Sessions with one id are told apart by their device; an index belongs to the event that used it first."""
    store = (await opened(database_url)).crypto
    one = InboundRow(ROOM, "s", "key", ALICE, SECRET, 10, 10)
    two = replace(one, sender_key=NASTY, sender=BOB)
    await store.commit([one, two, InboundUsed(ROOM, "s", "key", 30), InboundUsed(ROOM, "none", "key", 30)])
    await store.commit([InboundUsed(ROOM, "s", "key", 20)])  # written behind, it came late
    found = {row.sender_key: row for row in await store.inbound(ROOM, "s")}
    assert found == {"key": replace(one, used_at=30), NASTY: two}
    assert (await store.used(ROOM, "s", "key")).highest == -1
    used = IndexRow(ROOM, "s", "key", 7, EVENT, 99)
    await store.commit([used, replace(used, event=EventId("$other")), replace(used, index=3)])
    await store.commit([replace(used, event=EventId("$third"))])
    assert await store.index(ROOM, "s", "key", 7) == used
    assert await store.index(ROOM, "s", NASTY, 7) is None
    assert (await store.used(ROOM, "s", "key")).highest == 7


async def test_what_is_in_the_backup(database_url: str, opened: Opened) -> None:
    """A session is in a generation's backup from when that is noted until it is put anew; older notes count less."""
    store = (await opened(database_url)).crypto
    one = InboundRow(ROOM, "s", "key", ALICE, SECRET, 10, 10)
    rows = [replace(one, session=f"s{number}", received_at=number) for number in range(5)]
    await store.commit([one, *rows])
    assert await store.count_unsaved(1) == 6
    assert len(await store.unsaved(1, 4)) == 4
    await store.commit([InboundSaved(ROOM, row.session, "key", row.received_at, 1) for row in rows])
    assert await store.unsaved(1, 9) == [one]
    await store.commit([InboundSaved(ROOM, "s", "other", 10, 1), InboundSaved(ROOM, "s", "key", 9, 1)])
    assert await store.unsaved(1, 9) == [one]  # neither was this row
    better = replace(rows[0], value=b"better", received_at=20)
    await store.commit([better, InboundSaved(ROOM, "s0", "key", 0, 1), InboundSaved(ROOM, "s", "key", 10, 1)])
    assert await store.unsaved(1, 9) == [better]
    taken = replace(better, session="taken")
    await store.commit([taken, InboundSaved(ROOM, "taken", "key", 20, 1), InboundUsed(ROOM, "taken", "key", 30)])
    assert await store.unsaved(1, 9) == [better]
    assert await store.count_unsaved(2) == len(await store.unsaved(2, 9)) == 7


async def test_what_comes_to_a_device_is_kept_once_and_in_order(database_url: str, opened: Opened) -> None:
    """A message with a known digest is not stored again, handled or not; ids go on after all was handled."""
    database = await opened(database_url)
    store = database.crypto
    assert await store.last_to_device() == 0
    rows = [ToDeviceRow(number, b"digest%d" % number, b"%d" % number, 5) for number in (1, 2, 3)]
    await store.commit([rows[1], rows[0], replace(rows[2], digest=rows[0].digest), replace(rows[2], id=4)])
    assert await store.to_device(0, 10) == [rows[0], rows[1], replace(rows[2], id=4)]
    await store.commit([ToDeviceDone(1), replace(rows[0], id=5)])
    assert await store.to_device(0, 1) == [rows[1]]
    assert await store.to_device(2, 10) == [replace(rows[2], id=4)]
    with pytest.raises(RefusedRowError):
        await store.commit([SecretRow("lost", b""), replace(rows[0], id=2, digest=b"another")])
    assert await store.secret("lost") is None
    await store.commit([ToDeviceDone(2), ToDeviceDone(4)])
    await store.sweep(received_before=0, unused_before=0, forgotten_before=9)
    await database.stop()
    again = (await opened(database_url)).crypto
    assert (await again.to_device(0, 10), await again.last_to_device()) == ([], 4)


async def test_notes_requests_secrets_rooms(database_url: str, opened: Opened) -> None:
    """The rest comes back as it was put, replaced by its key, and goes when removed."""
    store = (await opened(database_url)).crypto
    note = WithheldRow(ROOM, "s", ALICE, "m.unverified", 5)
    await store.commit([note, replace(note, sender=BOB), replace(note, code="m.blacklisted")])
    assert sorted(await store.withheld(ROOM, "s"), key=str) == sorted(
        [replace(note, code="m.blacklisted"), replace(note, sender=BOB)], key=str
    )
    request = RequestRow("id", ROOM, "s", SECRET, 5)
    await store.commit([request, replace(request, request="gone"), RequestGone("gone")])
    assert await store.requests(ROOM, "s") == [request]
    assert await store.requests(OTHER, "s") == []
    await store.commit([SecretRow("a", SECRET), SecretRow("b", b""), SecretRow("c", b"c"), SecretRow("c", None)])
    assert [await store.secret(name) for name in "abcd"] == [SECRET, b"", None, None]
    await store.commit([RoomRow(ROOM, b"1"), RoomRow(OTHER, SECRET), RoomRow(ROOM, b"2")])
    assert sorted(await store.rooms(), key=str) == sorted([RoomRow(ROOM, b"2"), RoomRow(OTHER, SECRET)], key=str)


async def test_what_is_written_later_is_read_at_once(database_url: str, opened: Opened) -> None:
    """A read sees what was handed over before it, and what goes with the journal is there with its commit."""
    database = await opened(database_url)
    store = database.crypto
    store.later([SecretRow("later", SECRET)])
    assert await store.secret("later") == SECRET
    store.later([SecretRow("later", b"newer")])
    store.later([SecretRow("later", None), SecretRow("other", b"1")])
    assert (await store.secret("later"), await store.secret("other")) == (None, b"1")
    work = Work()
    work.write(store.writes([RoomRow(ROOM, b"1")]))
    await database.writer.commit(work)
    assert await store.rooms() == [RoomRow(ROOM, b"1")]


async def test_commits_of_one_group_keep_their_order(database_url: str, opened: Opened) -> None:
    """What several commits say of one row at once comes out as if they had been made one after the other."""
    store = (await opened(database_url)).crypto
    session = OlmSessionRow(BOT, "peer", "s", b"1", 1, 1)
    gone = OlmSessionGone(BOT, "peer", "s")
    account = AccountRow(BOT, b"a")
    commits: list[list[ports.Row]] = [
        [account, session],
        [gone],
        [replace(session, value=b"2")],
        [account, KeysWanted(BOT, True)],
        [replace(session, value=b"3")],
        [gone, replace(session, session="t")],
    ]
    await asyncio.gather(*[store.commit(rows) for rows in commits])
    assert await store.olm_sessions(BOT, ["peer"]) == [replace(session, session="t")]
    assert await store.account(BOT) == replace(account, wanted=True)


async def test_values_are_sealed_for_their_rows(database_url: str, opened: Opened) -> None:
    """No table holds a value in the clear, and one moved to another row does not open there."""
    database = await opened(database_url)
    store = database.crypto
    await store.commit(
        [
            AccountRow(BOT, SECRET),
            TrackedRow(ALICE, SECRET, 0),
            OlmSessionRow(BOT, "peer", "s", SECRET, 1, 1),
            OutboundRow(BOT, ROOM, SECRET),
            SharesRow(ROOM, "s", 0, SECRET, 1),
            InboundRow(ROOM, "s", "key", ALICE, SECRET, 1, 1),
            ToDeviceRow(1, b"digest", SECRET, 1),
            RequestRow("id", ROOM, "s", SECRET, 1),
            SecretRow("name", SECRET),
            RoomRow(ROOM, SECRET),
        ]
    )
    tables = sorted({one.table.name for one in IN_SEQUENCE if "value" in one.table.c})
    assert len(tables) == 10
    for table in tables:
        (value,) = await _values(database, f"SELECT value FROM {table}")
        assert SECRET not in value, table
    moved = {
        "crypto_account": ("device = 'THEIRS'", store.account(Owner(BOT.user, "THEIRS"))),
        "crypto_tracked": ("user_id = '@bob:hs'", store.tracked([UserId("@bob:hs")])),
        "crypto_olm": ("peer = 'other'", store.olm_sessions(BOT, ["other"])),
        "crypto_outbound": ("room = '!other:hs'", store.outbound(BOT, RoomId("!other:hs"))),
        "crypto_shares": ("part = 1", store.shares(ROOM, "s")),
        "crypto_inbound": ("sender = '@bob:hs'", store.inbound(ROOM, "s")),
        "crypto_request": ("request = 'other'", store.requests(ROOM, "s")),
        "crypto_secret": ("name = 'other'", store.secret("other")),
        "crypto_room": ("room = '!other:hs'", store.rooms()),
    }
    assert sorted([*moved, "crypto_to_device"]) == tables
    for table, (change, reading) in moved.items():
        await _change(database, f"UPDATE {table} SET {change}")
        if table in {"crypto_request", "crypto_secret", "crypto_room"}:
            with pytest.raises(UnreadableError):
                await reading
        else:
            # One of a list must not hide those beside it: it is given empty.
            found = await reading
            (row,) = found if isinstance(found, list) else [found]
            assert row.value == b"", table
    await store.commit([ToDeviceRow(3, b"other", b"good", 1)])
    await _change(database, "UPDATE crypto_to_device SET id = 2 WHERE id = 1")
    # One of a list must not hide those beside it: it is given empty.
    assert [(row.id, row.value) for row in await store.to_device(0, 9)] == [(2, b""), (3, b"good")]


async def test_the_sweep(database_url: str, opened: Opened) -> None:
    """What is too old goes, with what belongs to it; what is used again or waits stays."""
    store = (await opened(database_url)).crypto
    old, unused, kept = [InboundRow(ROOM, name, "key", ALICE, b"", *times) for name, times in _SESSIONS]
    many = [replace(old, session=f"old{number}") for number in range(450)]
    uses = [IndexRow(ROOM, row.session, "key", 1, EVENT, 1) for row in (old, kept)]
    shares = [SharesRow(ROOM, row.session, 0, b"", 100) for row in (old, kept)]
    waiting = ToDeviceRow(1, b"1", b"", 1)
    await store.commit([old, unused, kept, *many, *uses, *shares, SharesRow(OTHER, "s", 0, b"", 1)])
    await store.commit([waiting, replace(waiting, id=2, digest=b"2"), ToDeviceDone(2), ToDeviceRow(3, b"3", b"", 1)])
    await store.commit([WithheldRow(ROOM, "s", ALICE, "x", 1), RequestRow("r", ROOM, "s", b"", 1)])
    # Never used: of a room that is known it is kept, of any other not for long.
    await store.commit(
        [RoomRow(ROOM, b""), *(InboundRow(room, "new", "key", ALICE, b"", 85, 85) for room in (ROOM, OTHER))]
    )
    await store.commit([OlmSessionRow(BOT, "peer", name, b"", 1, used) for name, used in (("1", 59), ("2", 60))])
    swept = await store.sweep(received_before=50, unused_before=60, forgotten_before=90)
    assert swept == {"inbound": 453, "olm": 1, "to_device": 1, "shares": 1, "withheld": 1, "requests": 1}
    assert await store.inbound(ROOM, kept.session) == [kept]
    assert await store.inbound(ROOM, old.session) == await store.inbound(ROOM, unused.session) == []
    assert (len(await store.inbound(ROOM, "new")), await store.inbound(OTHER, "new")) == (1, [])
    assert [row.session for row in await store.olm_sessions(BOT, ["peer"])] == ["2"]
    assert await store.used(ROOM, old.session, "key") == Used(1, replace(uses[0]))
    assert (await store.used(ROOM, kept.session, "key")).highest == 1
    assert (await store.shares(ROOM, old.session), len(await store.shares(ROOM, kept.session))) == ([], 1)
    assert [row.id for row in await store.to_device(0, 9)] == [1, 3]
    nothing = await store.sweep(received_before=0, unused_before=0, forgotten_before=0)
    assert set(nothing.values()) == {0}


_SESSIONS = [("old", (40, 99)), ("unused", (55, 55)), ("kept", (55, 99))]


# Every statement on a table of three rows' keys: what comes out must not depend on how rows were put together.
_NAMES = ["account_put", "account_wanted", "olm_put", "olm_gone", "position_put"]
_NAMES += ["inbound_put", "inbound_saved"]
_ROWS = st.lists(
    st.tuples(st.sampled_from(_NAMES), st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 3)), max_size=25
)


@given(_ROWS)
@settings(max_examples=200)
def test_rows_put_together_do_what_they_did_apart(given_rows: list[tuple[str, str, str, int]]) -> None:
    """Run after run gives the same tables as row after row, and no run names one key twice."""
    rows = [_statement_row(*one) for one in given_rows]
    apart: dict[Any, Any] = {}
    for row in rows:
        _apply(apart, row[0], [row[1:]])
    together: dict[Any, Any] = {}
    for name, run in in_sequence(rows):
        assert len({row[: BY_NAME[name].keys] for row in run}) == len(run)
        _apply(together, name, run)
    assert together == apart


def _statement_row(name: str, first: str, second: str, value: int) -> tuple[Any, ...]:
    columns = BY_NAME[name].columns
    if columns[0] == "inbound":
        return name, first.encode(), value % 2, second, value
    if name == "inbound_put":
        return name, first, second, "key", "sender", b"", value % 2, 0, 0
    keys = (first, second, "peer", "session")[: BY_NAME[name].keys]
    if name.startswith("inbound"):
        keys = (first, second, "key")
    if name == "inbound_saved":
        return name, *keys, value % 2, value
    return (name, *keys, *[value] * (len(columns) - len(keys)))


def _apply(tables: dict[Any, Any], name: str, rows: Sequence[tuple[Any, ...]]) -> None:
    statement = BY_NAME[name]
    table = tables.setdefault(statement.table.name, {})
    for row in rows:
        key, values = row[: statement.keys], dict(zip(statement.columns, row, strict=True))
        match statement.kind.name:
            case "UPSERT":
                table[key] = {**table.get(key, {}), **values}
            case "OFFER":
                table.setdefault(key, values)
            case "UPDATE" if key in table:
                guards = statement.columns[statement.keys : statement.keys + statement.guards]
                if all(table[key][name] == values[name] for name in guards):
                    table[key].update(values)
            case "DELETE":
                for known in [one for one in table if one[: len(row)] == row]:
                    del table[known]


async def _values(database: Database, sql: str) -> list[bytes]:
    rows = await database.reader.run(lambda connection: connection.execute(text(sql)).all())
    return [bytes(row[0]) for row in rows]


async def _change(database: Database, sql: str) -> None:
    await database.writer.run(lambda connection: connection.execute(text(sql)))


# Takes messages in, and takes each one's key into use, saying on its output what it was told is committed.
KEEPER = """
import asyncio, sys
from bridge_core.crypto.ports import *
from bridge_core.store.database import Database
from bridge_core.store.engines import DatabaseSettings
from bridge_core.store.seal import Seal
from bridge_core.testing.faults import KillingFaults

BOT = Owner("@bot:hs", "BOT")

async def main():
    database = Database(DatabaseSettings(sys.argv[1]), Seal("a secret for tests"), faults=KillingFaults())
    await database.start()
    store = database.crypto
    for number in range(1, 10):
        ratchet, value = OlmSessionRow(BOT, "peer", "s", b"%d" % number, 1, number), b"%d" % number
        brought = InboundRow("!room:hs", str(number), "key", "@alice:hs", value, 1, 1)
        await store.commit([ToDeviceRow(number, value, value, 1)])
        print("arrived", number, flush=True)
        await store.commit([ratchet, brought, ToDeviceDone(number)])
        print("handled", number, flush=True)

asyncio.run(main())
"""


@pytest.mark.crash
@pytest.mark.parametrize(
    ("point", "arrived", "handled"),
    [("before_commit:5", 2, 2), ("after_commit:5", 3, 2), ("before_commit:6", 3, 2), ("after_commit:6", 3, 3)],
)
async def test_a_kill_leaves_a_ratchet_and_what_it_brought_together(
    database_url: str, opened: Opened, point: str, arrived: int, handled: int
) -> None:
    """Killed before or after a commit: the ratchet, its key and the message's end are all there, or none is."""
    killed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        KEEPER,
        database_url,
        env={**os.environ, KILL_AT: f"crypto.{point}"},
        stdout=asyncio.subprocess.PIPE,
        cwd=Path.cwd(),
    )
    output, _ = await killed.communicate()
    assert killed.returncode == -9
    store = (await opened(database_url, lease_timeout=60.0)).crypto
    owner = Owner(UserId("@bot:hs"), "BOT")
    (ratchet,) = await store.olm_sessions(owner, ["peer"])
    keys = [number for number in range(10) if await store.inbound(ROOM, str(number))]
    waiting = [row.id for row in await store.to_device(0, 10)]
    assert await store.last_to_device() == arrived
    assert ratchet.value == b"%d" % handled
    assert keys == list(range(1, handled + 1))
    assert waiting == list(range(handled + 1, arrived + 1))
    told = output.decode().split("\n")
    assert sum(line.startswith("arrived") for line in told) <= arrived
    assert sum(line.startswith("handled") for line in told) <= handled


async def test_how_far_a_session_was_used_outlives_it(database_url: str, opened: Opened) -> None:
    """The sweep leaves one row of its indexes: the highest, with its event, however often it comes again."""
    store = (await opened(database_url)).crypto
    row = InboundRow(ROOM, "s", "key", ALICE, b"", 1, 1)
    first = IndexRow(ROOM, "s", "key", 0, EVENT, 1)
    second = replace(first, index=7, event=EventId("$seven"), ts=8)
    await store.commit([row, first, second, replace(first, index=3)])
    assert await store.used(ROOM, "s", "key") == Used(7)

    async def sweep() -> None:
        assert (await store.sweep(received_before=50, unused_before=0, forgotten_before=0))["inbound"] == 1

    await sweep()
    assert await store.used(ROOM, "s", "key") == Used(7, second)
    assert await store.index(ROOM, "s", "key", 3) is None
    await store.commit([row])
    await sweep()
    assert await store.used(ROOM, "s", "key") == Used(7, second)
    await store.commit([row, replace(first, index=9)])
    assert await store.used(ROOM, "s", "key") == Used(9, second)
    await sweep()
    assert await store.used(ROOM, "s", "key") == Used(9, replace(first, index=9))
    # What was in memory still has used an earlier one meanwhile.
    await store.commit([row, replace(first, index=2)])
    await sweep()
    assert await store.used(ROOM, "s", "key") == Used(9, replace(first, index=9))
