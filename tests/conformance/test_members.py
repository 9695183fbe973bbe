"""Who comes and goes, on both sides: the same tests on a real Synapse and on FakeHomeserver."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from bridge_core.api.content import Content, Plain
from bridge_core.api.errors import RejectedError
from bridge_core.api.events import (
    MemberPower,
    Membership,
    RemoteEvent,
    RemoteMember,
    RemoteMembers,
    RemoteMessage,
    RemotePower,
    RemoteSender,
)
from bridge_core.api.ids import ChatId, NetworkId, RemoteUserId, UserId
from bridge_core.api.matrix import MatrixMember, MatrixOutgoing, MatrixPower
from bridge_core.api.network import Attempt, Sent
from tests.conformance.homeservers import SERVER, Event, Homeserver, Human
from tests.harness import InProcess
from tests.scripted import Script

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOMESERVERS = ("fake", "basic", "synapse")

BOT = f"@bridgebot:{SERVER}"
CHATS = tuple(f"hall{number}" for number in range(40))


@dataclass
class Setting:
    """A bridge with four networks: `lazy`, `slow` (lazy, with grace), `eager`, and `strict`, which moderates and has
    logins; a human; one script for each."""

    bridge: InProcess
    scripts: dict[str, Script]
    human: Human
    homeserver: Homeserver
    used: int = 0

    def chat(self) -> str:
        """A configured chat that nobody has entered yet."""
        self.used += 1
        return CHATS[self.used - 1]

    async def enter(self, network: str, chat: str) -> str:
        """The human joins the room of a chat."""
        return await self.human.join(f"#_{network}_{chat}:{SERVER}")

    async def says(self, network: str, *events: RemoteEvent) -> None:
        """The network tells of these, and the bridge has handled them."""
        inbox = self.scripts[network].inbox
        assert inbox is not None
        await inbox.receive(events)
        await self.bridge.settled()

    async def talks(self, network: str, chat: str, who: RemoteSender) -> None:
        """Somebody says something."""
        await self.says(network, RemoteMessage(ChatId(chat), who, Content((Plain("hello"),))))

    async def member(self, room: str, user: str) -> dict[str, Any]:
        """A member event's content, empty where there is none."""
        answer = await self.human.call("GET", f"rooms/{room}/state/m.room.member/{user}")
        return {} if "errcode" in answer else dict(answer)

    async def becomes(self, room: str, user: str, membership: str) -> Event:
        """Wait until a user's membership in the room is this; the event that made it so."""
        found: Event = await self.human.sees(
            room, lambda e: e.get("state_key") == user and e["content"].get("membership") == membership
        )
        return found


def person() -> RemoteSender:
    """Somebody new."""
    name = f"p{secrets.token_hex(4)}"
    return RemoteSender(RemoteUserId(name), name.upper())


def ghost(network: str, who: RemoteSender) -> str:
    """Their ghost."""
    return f"@_{network}_{who.id}:{SERVER}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(homeserver: Homeserver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setting]:
    """One bridge on it for all tests of this file."""
    scripts = {name: Script() for name in ("lazy", "slow", "eager", "strict")}
    scripts["strict"].moderates = scripts["strict"].provided = True
    human = await homeserver.human()
    further: dict[str, dict[str, Any]] = {
        "lazy": {"leave_grace": 0},
        "slow": {"leave_grace": 3600},
        "eager": {"leave_grace": 0, "members": "eager"},
        "strict": {"leave_grace": 0},
    }
    bridge = InProcess(
        tmp_path_factory.mktemp("bridge"),
        {name: {"type": name, "portals": list(CHATS), **more} for name, more in further.items()},
        address=homeserver.url,
        port=homeserver.port,
        tokens=(homeserver.as_token, homeserver.hs_token),
        adapters=scripts,
        permissions={human.id: "admin"},
        limits={"membership_rate": 1000},
    )
    await bridge.start_bridge()
    yield Setting(bridge, scripts, human, homeserver)
    await bridge.stop_bridge()


def refuse(message: MatrixOutgoing, attempt: Attempt) -> Sent:
    """An answer: the network will not do it."""
    raise RejectedError("you are no operator")


def joins(chat: str, *people: RemoteSender, by: RemoteSender | None = None) -> Sequence[RemoteMember]:
    """They join."""
    return [RemoteMember(ChatId(chat), who, Membership.JOIN, by) for who in people]


async def test_lazy_rooms_hold_who_has_spoken(at: Setting) -> None:
    """Who joins a chat of a lazy network is in its room from their first message on, and leaves with its person."""
    chat, who = at.chat(), person()
    room = await at.enter("lazy", chat)
    await at.says("lazy", *joins(chat, who))
    assert await at.member(room, ghost("lazy", who)) == {}
    await at.talks("lazy", chat, who)
    assert (await at.member(room, ghost("lazy", who)))["membership"] == "join"
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.LEAVE, reason="bye"))
    left = await at.becomes(room, ghost("lazy", who), "leave")
    assert (left["sender"], left["content"].get("reason")) == (ghost("lazy", who), "bye")
    await at.talks("lazy", chat, who)
    assert (await at.member(room, ghost("lazy", who)))["membership"] == "join"


async def test_eager_rooms_hold_everybody(at: Setting) -> None:
    """Who joins a chat of an eager network is in its room without a word, under their name, until they leave."""
    chat, who = at.chat(), person()
    room = await at.enter("eager", chat)
    await at.says("eager", *joins(chat, who))
    joined = await at.becomes(room, ghost("eager", who), "join")
    assert joined["content"]["displayname"] == who.name
    await at.says("eager", RemoteMember(ChatId(chat), who, Membership.LEAVE))
    await at.becomes(room, ghost("eager", who), "leave")


async def test_who_returns_in_time_has_not_left(at: Setting) -> None:
    """With grace a leave shows only when it lasts: who comes back, or speaks, is there all the while."""
    chat, back, speaks = at.chat(), person(), person()
    room = await at.enter("slow", chat)
    await at.talks("slow", chat, back)
    await at.talks("slow", chat, speaks)
    leaves = [RemoteMember(ChatId(chat), who, Membership.LEAVE) for who in (back, speaks)]
    await at.says("slow", *leaves)
    wishes = at.bridge.running.database.wishes
    assert set(await wishes.of_room(room)) == {ghost("slow", back), ghost("slow", speaks)}  # type: ignore[arg-type]
    await at.says("slow", *joins(chat, back))
    await at.talks("slow", chat, speaks)
    assert await wishes.of_room(room) == {}  # type: ignore[arg-type]
    for who in (back, speaks):
        members = [e for e in await at.human.timeline(room) if e.get("state_key") == ghost("slow", who)]
        assert [e["content"]["membership"] for e in members if e["type"] == "m.room.member"][-1] == "join"


async def test_kicks_bans_and_unbans_of_people(at: Setting) -> None:
    """Who is kicked or banned there is kicked or banned by the bot, with who did it and why; an unban lets them in."""
    chat, who, by = at.chat(), person(), person()
    room = await at.enter("lazy", chat)
    user = ghost("lazy", who)
    await at.talks("lazy", chat, who)
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.KICK, by, "rude"))
    kicked = await at.becomes(room, user, "leave")
    assert (kicked["sender"], kicked["content"]["reason"]) == (BOT, f"{by.name}: rude")
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.BAN, by))
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.BAN, by))
    assert (await at.member(room, user))["membership"] == "ban"
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.UNBAN, by))
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.UNBAN, by))
    assert (await at.member(room, user))["membership"] == "leave"
    await at.talks("lazy", chat, who)
    assert (await at.member(room, user))["membership"] == "join"


async def test_a_list_of_members_is_worked_off(at: Setting) -> None:
    """After an outage the room is made like the list: who is new comes, who is missing goes, the others stay."""
    chat, stays, goes, comes = at.chat(), person(), person(), person()
    room = await at.enter("eager", chat)
    await at.says("eager", RemoteMembers(ChatId(chat), (stays, goes)))
    for who in (stays, goes):
        await at.becomes(room, ghost("eager", who), "join")
    await at.says("eager", RemoteMembers(ChatId(chat), (stays, comes)))
    await at.becomes(room, ghost("eager", goes), "leave")
    await at.becomes(room, ghost("eager", comes), "join")
    assert (await at.member(room, ghost("eager", stays)))["membership"] == "join"


async def test_a_list_of_members_takes_the_absent_out_of_lazy_rooms(at: Setting) -> None:
    """In a lazy room the list brings nobody in, and takes out who has spoken and is there no more."""
    chat, stays, goes, silent = at.chat(), person(), person(), person()
    room = await at.enter("lazy", chat)
    await at.talks("lazy", chat, stays)
    await at.talks("lazy", chat, goes)
    await at.says("lazy", RemoteMembers(ChatId(chat), (stays, silent)))
    await at.becomes(room, ghost("lazy", goes), "leave")
    assert (await at.member(room, ghost("lazy", stays)))["membership"] == "join"
    assert await at.member(room, ghost("lazy", silent)) == {}


async def test_knocks_from_the_network_are_shown(at: Setting) -> None:
    """Who asks to be let in knocks where the room takes knocks; elsewhere the room is told, and counts it."""
    chat, who = at.chat(), person()
    room = await at.enter("lazy", chat)
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.KNOCK, reason="please"))
    told = await at.human.sees(room, lambda e: e["sender"] == BOT and "asks to be let in" in str(e["content"]))
    assert ghost("lazy", who) in told["content"]["body"]
    matrix = at.bridge.running.matrix
    await matrix.set_state(room, "m.room.join_rules", "", {"join_rule": "knock"}, matrix.bot)  # type: ignore[arg-type]
    await at.says("lazy", RemoteMember(ChatId(chat), who, Membership.KNOCK, reason="please"))
    knocked = await at.becomes(room, ghost("lazy", who), "knock")
    assert knocked["content"]["reason"] == "please"


async def _moderated(at: Setting, room: str, action: str, user: str, reason: str = "") -> None:
    """The human does it, with power from the bot."""
    body = {"user_id": user, **({"reason": reason} if reason else {})}
    answer = await at.human.call("POST", f"rooms/{room}/{action}", body)
    assert "errcode" not in answer, answer


async def _empowered(at: Setting, room: str) -> None:
    """The human may kick and ban."""
    matrix = at.bridge.running.matrix
    levels = await matrix.state(room, "m.room.power_levels") or {}  # type: ignore[arg-type]
    levels["users"] = {**levels["users"], at.human.id: 90}
    await matrix.set_state(room, "m.room.power_levels", "", levels, matrix.bot)  # type: ignore[arg-type]


async def _asked(at: Setting, count: int = 1) -> list[tuple[Membership, str | None, str | None]]:
    """What the network was asked to do, once it is this much; and forget it."""
    script = at.scripts["strict"]
    found = await at.bridge.until(
        lambda: len(acts := [act for _, act in script.sent if isinstance(act, MatrixMember)]) >= count and acts
    )
    script.sent.clear()
    return [(act.membership, act.remote, act.reason) for act in found]


async def test_moderation_on_matrix_reaches_the_network(at: Setting) -> None:
    """Kicks, bans, lifted bans and invitations of people go to the network, by the login of who does it."""
    chat, who, script = at.chat(), person(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    user = ghost("strict", who)
    await at.talks("strict", chat, who)
    await _empowered(at, room)
    script.sent.clear()
    await _moderated(at, room, "kick", user, "rude")
    await at.bridge.until(lambda: script.sent)
    assert {login for login, _ in script.sent} == {at.human.id}
    assert await _asked(at) == [(Membership.KICK, who.id, "rude")]
    await _moderated(at, room, "invite", user)
    assert await _asked(at) == [(Membership.INVITE, who.id, None)]
    assert (await at.member(room, user))["membership"] == "invite"
    await at.says("strict", *joins(chat, who))
    await at.becomes(room, user, "join")
    await _moderated(at, room, "ban", user)
    await _moderated(at, room, "unban", user)
    assert await _asked(at, 2) == [(Membership.BAN, who.id, None), (Membership.UNBAN, who.id, None)]


@pytest.mark.parametrize(
    ("action", "before"), [("kick", "join"), ("ban", "join"), ("unban", "ban"), ("invite", "leave")]
)
async def test_what_the_network_refuses_is_put_back(at: Setting, action: str, before: str) -> None:
    """A kick, ban, lifted ban or invitation that the network refuses is undone, and the user told why."""
    chat, who, script = at.chat(), person(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    user = ghost("strict", who)
    await at.talks("strict", chat, who)
    await _empowered(at, room)
    if before != "join":
        kind = Membership.BAN if before == "ban" else Membership.KICK
        await at.says("strict", RemoteMember(ChatId(chat), who, kind))
    assert (await at.member(room, user))["membership"] == before
    script.answer = refuse
    await _moderated(at, room, action, user)
    told = await at.human.sees(room, lambda e: e["sender"] == BOT and "you are no operator" in str(e["content"]))
    assert told["content"]["body"] == "\u26a0 Your change was not made on strict: you are no operator"
    changed = await at.human.sees(room, lambda e: e.get("state_key") == user and e["sender"] == at.human.id)
    assert told["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == changed["event_id"]
    script.answer = lambda message, attempt: Sent()
    seen: list[str] = []

    def back(event: Event) -> bool:
        """The last one is what it was, after the change."""
        if event.get("state_key") == user:
            seen.append(event["event_id"])
        after = changed["event_id"] in seen and event["event_id"] != changed["event_id"]
        return after and event.get("state_key") == user and event["content"]["membership"] == before

    await at.human.sees(room, back)


async def test_a_login_follows_its_user_into_chats(at: Setting) -> None:
    """The client of a user enters the chat when they join its room, leaves when they leave, and changed names are no
    news; who may not enter is told."""
    chat, script = at.chat(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    script.sent.clear()
    await at.human.send(room, "hello")  # makes the login
    await at.bridge.until(lambda: script.sent)
    script.moved.clear()
    await at.human.call("POST", f"rooms/{room}/leave", {})
    await at.bridge.until(lambda: script.moved)
    await at.enter("strict", chat)
    await at.bridge.until(lambda: len(script.moved) == 2)
    assert script.moved == [(at.human.id, "leave", chat), (at.human.id, "enter", chat)]
    await at.human.call("PUT", f"profile/{at.human.id}/displayname", {"displayname": "Somebody"})
    await at.human.send(room, "afterwards")
    await at.bridge.until(lambda: len(script.sent) == 2)
    assert len(script.moved) == 2
    script.admits = False
    await at.human.call("POST", f"rooms/{room}/leave", {})
    await at.enter("strict", chat)
    await at.human.sees(room, lambda e: e["sender"] == BOT and "members only" in str(e["content"].get("body")))
    script.admits = True


async def test_a_knock_asks_the_network(at: Setting) -> None:
    """Who knocks enters the chat by their login and is invited when the network has let them in; a refusal is told."""
    chat, script = at.chat(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    script.sent.clear()
    await at.human.send(room, "hello")
    await at.bridge.until(lambda: script.sent)
    matrix = at.bridge.running.matrix
    await matrix.set_state(room, "m.room.join_rules", "", {"join_rule": "knock"}, matrix.bot)  # type: ignore[arg-type]
    script.moved.clear()
    await at.human.call("POST", f"rooms/{room}/leave", {})
    assert "errcode" not in await at.human.call("POST", f"knock/{room}", {})
    await at.bridge.until(lambda: (at.human.id, "enter", chat) in script.moved)
    await at.says("strict", RemoteMember(ChatId(chat), _own(at), Membership.JOIN))
    assert await at.human.join(room) == room
    script.admits = False
    await at.human.call("POST", f"rooms/{room}/leave", {})
    assert "errcode" not in await at.human.call("POST", f"knock/{room}", {})

    async def refused() -> bool:
        state = await matrix.state(room, "m.room.member", at.human.id)  # type: ignore[arg-type]
        return state is not None and (state["membership"], state.get("reason")) == ("leave", "members only")

    async with asyncio.timeout(60):
        while not await refused():
            await asyncio.sleep(0.03)
    script.admits = True


def _own(at: Setting) -> RemoteSender:
    """The human, as the network knows them."""
    network = at.bridge.running.networks.get(NetworkId("strict"))
    assert network is not None
    return RemoteSender(RemoteUserId("me"), "Me", network.logins(UserId(at.human.id))[0].id)


async def test_what_happens_to_ones_own_login_is_told(at: Setting) -> None:
    """A user whose own connection is thrown out of a chat stays in its room, which is told who did it and why."""
    chat, by, script = at.chat(), person(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    script.sent.clear()
    await at.human.send(room, "hello")
    await at.bridge.until(lambda: script.sent)
    await at.says("strict", RemoteMember(ChatId(chat), _own(at), Membership.KICK, by, "enough"))
    told = await at.human.sees(room, lambda e: e["sender"] == BOT and "kicked" in str(e["content"].get("body")))
    assert at.human.id in told["content"]["body"] and f"{by.name}: enough" in told["content"]["body"]
    assert (await at.member(room, at.human.id))["membership"] == "join"


async def _levels(at: Setting, room: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The users' levels in the room, once they are so."""
    async with asyncio.timeout(60):
        while True:
            content = await at.human.call("GET", f"rooms/{room}/state/m.room.power_levels")
            users: dict[str, Any] = content["users"]
            if reached(users):
                return users
            await asyncio.sleep(0.03)


async def test_powers_of_people_are_shown(at: Setting) -> None:
    """Who may moderate there gets as much power as the cap allows, many changes in one event; a complete list takes
    it from everybody else."""
    chat, op, voiced = at.chat(), person(), person()
    room = await at.enter("lazy", chat)
    before = await _levels(at, room, lambda users: True)
    powers = [MemberPower(op, 100), MemberPower(voiced, 10)]
    await at.says("lazy", *(RemotePower(ChatId(chat), (power,)) for power in powers))
    users = await _levels(at, room, lambda users: len(users) >= len(before) + 2)
    assert users == {**before, ghost("lazy", op): 50, ghost("lazy", voiced): 10}
    await at.says("lazy", RemotePower(ChatId(chat), (MemberPower(voiced, 20),), complete=True))
    users = await _levels(at, room, lambda users: ghost("lazy", op) not in users)
    assert users == {**before, ghost("lazy", voiced): 20}
    events = [e for e in await at.human.timeline(room) if e["type"] == "m.room.power_levels"]
    assert len(events) <= 3  # that of the room itself, and two for three changes


async def test_powers_given_on_matrix_reach_the_network(at: Setting) -> None:
    """A level given to a person goes to the network; when it refuses, they have the one that they had."""
    chat, who, script = at.chat(), person(), at.scripts["strict"]
    room = await at.enter("strict", chat)
    user = ghost("strict", who)
    await _empowered(at, room)
    script.sent.clear()

    async def give(level: int) -> None:
        path = f"rooms/{room}/state/m.room.power_levels"
        levels = await at.human.call("GET", path)
        levels["users"][user] = level
        levels["events"]["m.room.power_levels"] = 90
        assert "errcode" not in await at.human.call("PUT", path, levels)

    matrix = at.bridge.running.matrix
    levels = await matrix.state(room, "m.room.power_levels") or {}  # type: ignore[arg-type]
    levels["events"]["m.room.power_levels"] = 90
    await matrix.set_state(room, "m.room.power_levels", "", levels, matrix.bot)  # type: ignore[arg-type]
    await at.talks("strict", chat, who)
    await give(40)
    await at.bridge.until(lambda: any(isinstance(act, MatrixPower) for _, act in script.sent))
    (given,) = [act for _, act in script.sent if isinstance(act, MatrixPower)]
    assert (given.remote, given.users, given.sender.id) == (((who.id, 40),), (), at.human.id)
    script.answer = refuse
    await give(45)
    await at.human.sees(room, lambda e: e["sender"] == BOT and "you are no operator" in str(e["content"]))
    assert (await _levels(at, room, lambda users: users.get(user) != 45))[user] == 40
    script.answer = lambda message, attempt: Sent()


async def test_a_new_room_is_filled(at: Setting) -> None:
    """The room of a chat that has people already has them in it, with their powers, where the network tells of them."""
    chat, op, other, script = at.chat(), person(), person(), at.scripts["eager"]
    script.members[ChatId(chat)] = (op, other)
    script.powers = (MemberPower(op, 50),)
    room = await at.enter("eager", chat)
    await at.becomes(room, ghost("eager", op), "join")
    await at.becomes(room, ghost("eager", other), "join")
    assert (await _levels(at, room, lambda users: ghost("eager", op) in users))[ghost("eager", op)] == 50
    script.powers = ()
