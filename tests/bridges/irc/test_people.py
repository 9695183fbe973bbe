"""Who somebody is: people with an account stay the same under every nick, and nobody becomes them by taking a nick."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_core.api.errors import NotConnectedError, RejectedError
from bridge_core.api.events import (
    RemoteChatMoved,
    RemoteEvent,
    RemoteMembers,
)
from bridge_core.api.ids import ChatId, LoginId, RemoteUserId
from bridges.irc import people
from bridges.irc.codec.casemap import fold_ascii, fold_rfc1459
from bridges.irc.codec.message import parse
from bridges.irc.config.people import People
from bridges.irc.demo.witness import Witness
from bridges.irc.inquiries import Inquiries
from bridges.irc.partners import Partner, Partners
from tests.bridges.irc.ear import A, Ear, short
from tests.bridges.irc.rig import FakeAttempt, FakeHost, StartRig, StartServer, confirmed, eventually

# Ids

_NICKS = st.text(st.characters(exclude_characters=" !@,*?\r\n\0", exclude_categories=("Cs",)), min_size=1, max_size=20)
_HOSTILE = st.text("=aA[{", min_size=1, max_size=4) | _NICKS


@given(_HOSTILE, _HOSTILE)
def test_ids_of_nicks_and_accounts_never_meet(nick: str, account: str) -> None:
    """Whatever a network allows in nicks and accounts, no nick has the id of an account, and each is read back."""
    folded = fold_rfc1459(nick)
    by_nick, by_account = people.of_nick(folded), people.of_account(account)
    assert people.nick_of(by_nick) == folded and people.account_of(by_nick) is None
    assert by_account != by_nick
    if by_account is not None:
        assert people.account_of(by_account) == account.translate({n: n + 32 for n in range(65, 91)})
        assert people.nick_of(by_account) is None


@given(_HOSTILE, _HOSTILE)
def test_different_nicks_and_accounts_have_different_ids(one: str, other: str) -> None:
    """Two folded nicks share an id only when they are the same, and so do two accounts but for A to Z."""
    assert (people.of_nick(one) == people.of_nick(other)) == (one == other)
    first, second = people.of_account(one), people.of_account(other)
    if first is not None and first == second:
        assert one.translate({n: n + 32 for n in range(65, 91)}) == other.translate({n: n + 32 for n in range(65, 91)})


@pytest.mark.parametrize("account", ["", "*", "0", "=alice", "a b", "a\x00", "x" * 200])
def test_what_is_no_account_gives_no_id(account: str) -> None:
    """Marks for "none", names that could be taken for another kind of id, and unreadable ones are no accounts."""
    assert people.of_account(account) is None
    assert people.of("bob", account) == "bob"


# Staying the same


def test_an_account_stays_the_same_person_under_every_nick() -> None:
    """A change of nick changes the name of a person with an account, and nothing else: nobody leaves or comes."""
    ear = Ear()
    assert short(ear.hears(":Alice!a@h JOIN #a Alice :Alice L")) == [("join", "#a", "=alice")]
    assert short(ear.hears(":Alice!a@h NICK Alice_away")) == [("rename", "=alice", "=alice", "Alice_away")]
    assert short(ear.hears("@account=Alice :Alice_away!a@h PRIVMSG #a :hi")) == [("says", "=alice", "Alice_away")]


def test_without_an_account_a_new_nick_is_a_new_person_and_the_old_one_goes() -> None:
    """Who has no account is known by the nick: with a new one the old person leaves and the new one comes."""
    ear = Ear()
    ear.hears(":bob!b@h JOIN #a * :Bob", ":bob!b@h JOIN #b * :Bob", ":relay!r@h MODE #b +o bob")
    assert short(ear.hears(":bob!b@h NICK robert")) == [
        ("rename", "bob", "robert", "robert"),
        ("leave", "#a", "bob"),
        ("leave", "#b", "bob"),
        ("join", "#a", "robert"),
        ("join", "#b", "robert"),
        ("power", "#b", "robert", "50"),
    ]


def test_who_takes_the_nick_of_somebody_with_an_account_is_somebody_else() -> None:
    """A nick says nothing about an account: neither joining under it nor changing to it makes anybody its owner."""
    ear = Ear()
    ear.hears(":alice!a@h JOIN #a alice :A", ":alice!a@h NICK elsewhere")
    assert short(ear.hears(":alice!evil@h JOIN #a * :A")) == [("join", "#a", "alice")]
    assert short(ear.hears(":alice!evil@h PRIVMSG #a :I am alice")) == [("says", "alice", "alice")]
    # Not even where nicks may look like the id of an account.
    assert short(ear.hears(":=alice!evil@h JOIN #a * :A")) == [("join", "#a", "==alice")]
    assert short(ear.hears(":alice!evil@h NICK =Alice"))[0][:3] == ("rename", "alice", "==alice")


def test_logging_in_and_out_changes_who_it_is() -> None:
    """From the moment of a login the person is the account's, from the logout the nick's; the other one leaves."""
    ear = Ear()
    ear.hears(":bob!b@h JOIN #a * :Bob", ":relay!r@h MODE #a +v bob")
    assert short(ear.hears(":bob!b@h ACCOUNT Robert")) == [
        ("leave", "#a", "bob"),
        ("join", "#a", "=robert"),
        ("power", "#a", "=robert", "1"),
    ]
    assert short(ear.hears("@account=Robert :bob!b@h PRIVMSG #a :me")) == [("says", "=robert", "bob")]
    assert short(ear.hears(":bob!b@h ACCOUNT *"))[:2] == [("leave", "#a", "=robert"), ("join", "#a", "bob")]
    assert short(ear.hears(":bob!b@h PRIVMSG #a :me"))[-1] == ("says", "bob", "bob")


def test_a_line_with_another_account_is_believed_at_once() -> None:
    """The server's account-tag decides who says something, even where nothing was told of a login before."""
    ear = Ear(frozenset({"account-tag", "message-tags"}))
    ear.hears(":bob!b@h JOIN #a")
    assert short(ear.hears("@account=mallory :bob!b@h PRIVMSG #a :hi"))[-1] == ("says", "=mallory", "bob")
    assert short(ear.hears("@time=2026-01-01T00:00:00.000Z :bob!b@h PRIVMSG #a :hi"))[-1] == ("says", "bob", "bob")


def test_what_is_replayed_changes_nobody() -> None:
    """A line of a batch (history) is its account's of that time; who the person is today stays."""
    ear = Ear()
    ear.hears(":bob!b@h JOIN #a robert :Bob")
    assert short(ear.hears("@batch=1;account=mallory :bob!m@h PRIVMSG #a :old")) != []
    person = ear.state.roster.get("bob")
    assert person is not None and person.sender.id == "=robert"


def test_accounts_are_not_believed_where_the_server_does_not_follow_them() -> None:
    """Without account-tag and account-notify, or switched off, people are known by their nicks only."""
    for ear in (Ear(frozenset({"extended-join"})), Ear(people=People(accounts=False))):
        assert short(ear.hears(":bob!b@h JOIN #a robert :Bob")) == [("join", "#a", "bob")]
        assert short(ear.hears("@account=robert :bob!b@h PRIVMSG #a :hi"))[-1] == ("says", "bob", "bob")


# Several connections of one account


def test_an_account_leaves_with_its_last_connection() -> None:
    """Of two connections of one account in a channel the first to go is no news; power is that of both."""
    ear = Ear()
    ear.hears(":al!a@h JOIN #a alice :A")
    assert short(ear.hears(":phone!a@h2 JOIN #a alice :A", ":relay!r@h MODE #a +o phone")) == [
        ("power", "#a", "=alice", "50")
    ]
    assert short(ear.hears(":phone!a@h2 PRIVMSG #a :hi"))[-1] == ("says", "=alice", "al")
    assert short(ear.hears(":al!a@h PART #a :bye")) == []
    out = short(ear.hears(":relay!r@h KICK #a phone :out"))
    assert out == [("power", "#a", "=alice", "0"), ("kick", "#a", "=alice")]
    ear.hears(":al!a@h JOIN #a alice :A", ":phone!a@h2 JOIN #a alice :A", ":phone!a@h2 JOIN #b alice :A")
    assert short(ear.hears(":phone!a@h2 QUIT :x")) == [("leave", "#b", "=alice")]
    assert short(ear.hears(":al!a@h QUIT :x")) == [("leave", "#a", "=alice")]


# Lists


async def test_the_list_of_members_waits_until_it_is_known_who_they_are() -> None:
    """After NAMES the accounts are asked for (WHOX); the list that follows has each person once, under their id."""
    ear = Ear(whox=True)
    listed = ear.hears(":s 353 relay = #a :relay @al phone bob", ":s 366 relay #a :End")
    assert short(listed) == [] and ear.told == [("WHO", "#a", "%tnuhafr,716")]
    events = ear.hears(
        ":s 354 relay 716 r h relay H 0 :Bridge",
        ":s 354 relay 716 a h al H@ Alice :A",
        ":s 354 relay 716 a h2 phone G Alice :A",
        ":s 354 relay 716 b h3 bob HB 0 :A bot",
        ":s 354 relay 999 b h3 bob H mallory :not our question",
        ":s 315 relay #a :End",
    )
    assert short(events) == [("all", "#a", "=alice", "bob"), ("power", "#a", "=alice", "50")]
    bob = ear.state.roster.get("bob")
    assert bob is not None and bob.bot and (bob.user, bob.host, bob.real) == ("b", "h3", "A bot")


async def test_a_list_asked_for_in_a_channel_we_left_is_not_told() -> None:
    """When we are out of the channel before its people are known, nobody is taken for gone."""
    ear = Ear(whox=True)
    ear.hears(":s 353 relay = #a :relay bob", ":s 366 relay #a :End")
    ear.state.roster.closed(A)
    assert short(ear.hears(":s 315 relay #a :End")) == []


async def test_a_server_without_time_is_asked_again_and_then_believed() -> None:
    """263 puts the question off; after the third the list is told as far as it is known."""
    ear = Ear(whox=True)
    ear.hears(":s 353 relay = #a :relay bob", ":s 366 relay #a :End")
    waiting = ear.hearing._people
    for _ in range(2):
        assert short(ear.hears(":s 263 relay WHO :Try again")) == []
        waiting._next()
    assert short(ear.hears(":s 263 relay WHO :Try again")) == [("all", "#a", "bob")]
    assert len(ear.told) == 3


# Private chats


def test_private_chats_follow_a_nick_and_only_its_owner() -> None:
    """A chat goes along with who wrote there last; another under that nick takes nothing, and no chat is taken over."""
    ear = Ear()
    anna = LoginId("@anna:hs.test")
    moved: list[RemoteEvent] = []
    ear.state.inboxes[anna] = moved.append
    known = ear.state.partners
    known.met(anna, ChatId("bob"), Partner("bob", "b@h"))
    known.met(anna, ChatId("eve"), Partner("eve", "e@h"))
    ear.hears(":bob!other@h NICK bobby")
    assert moved == []
    ear.hears(":bob!b@h NICK eve")
    assert moved == [] and known.get(anna, ChatId("eve")) == Partner("eve", "e@h")
    ear.hears(":bob!b@h NICK Robert")
    assert moved == [RemoteChatMoved(ChatId("bob"), ChatId("robert"), receiver=anna)]
    assert known.get(anna, ChatId("robert")) == Partner("Robert", "b@h") and known.get(anna, ChatId("bob")) is None


async def test_partners_are_known_after_a_restart() -> None:
    """Under which nick somebody was met is stored; what is damaged is forgotten alone; it is bounded."""
    host: Any = FakeHost(())
    partners = Partners()
    await partners.load(host)
    anna = LoginId("@anna:hs.test")
    for number in range(250):
        partners.met(anna, ChatId(f"n{number}"), Partner(f"N{number}", "u@h"))
    partners.met(anna, ChatId("=alice"), Partner("Al", "a@h"))
    await eventually(lambda: not host.tasks.running)
    host.kv.values["partners/@eve:hs.test"] = b"[1"
    again = Partners()
    await again.load(host)
    assert again.get(anna, ChatId("=alice")) == Partner("Al", "a@h")
    assert again.get(anna, ChatId("n0")) is None and len(again.chats(anna)) == 200
    assert "partners/@eve:hs.test" not in host.kv.values


async def test_what_happens_to_a_nick_costs_by_its_own_partners_only() -> None:
    """Who is met under a nick is found under each of its spellings, until the last of them goes; others are not looked
    at."""
    partners = Partners()
    met: list[str] = []
    gone: list[str] = []
    partners.on_met, partners.on_gone = met.append, gone.append
    anna, ben = LoginId("@anna:hs.test"), LoginId("@ben:hs.test")
    partners.met(anna, ChatId("al{"), Partner("Al[", "a@h"))
    partners.met(ben, ChatId("al{"), Partner("Al[", "a@h"))
    partners.met(ben, ChatId("eve"), Partner("Eve", "e@h"))
    looked: list[str] = []

    def fold(nick: str) -> str:
        looked.append(nick)
        return fold_rfc1459(nick)

    assert partners.under("aL{", fold) == {ChatId("al{")} and "Eve" not in looked
    assert partners.under("aL{", fold_ascii) == set()
    assert partners.with_chat(ChatId("eve")) == [(ben, Partner("Eve", "e@h"))]
    partners.met(anna, ChatId("al{"), Partner("Al2", "a@h"))
    assert gone == []
    await partners.forget(ben)
    assert gone == ["Al[", "Eve"] and partners.under("eve", fold) == set() and partners.chats(ben) == []
    partners.met(anna, ChatId("al{"), Partner("Al2", "b@h"))
    assert met == ["Al[", "Al[", "Eve", "Al2", "Al2"] and gone == ["Al[", "Eve"]
    assert partners.nicks() == ["Al2"]


async def test_a_person_with_an_account_is_written_to_under_their_nick_of_today(
    rig: StartRig, serve: StartServer
) -> None:
    """A private chat with an account finds its person; whoever has their old nick reads nothing of it."""
    server = await serve(accounts={"alice": "pw"})
    adapter = await rig(server.port)
    witness = await adapter.witness("al")
    await witness.close()
    alice = await Witness.connect("127.0.0.1", server.port or 0, "al", sasl=("alice", "pw"))
    adapter.witnesses.append(alice)
    anna = await adapter.puppet("@anna:hs.test", name="Anna")
    alice.raw("PRIVMSG Anna :hello")
    told = await adapter.inbox.text("hello")
    assert (told.chat, told.sender.id, told.sender.name) == ("=alice", "=alice", "al")
    await adapter.say(anna, "first", chat="=alice")
    await alice.wait_for(lambda line: line.command == "PRIVMSG" and line.text == "first")
    alice.raw("NICK alice")
    await alice.sync()
    mallory = await adapter.witness("al")
    await adapter.say(anna, "second", chat="=alice")
    await alice.wait_for(lambda line: line.command == "PRIVMSG" and line.text == "second")
    await alice.quit("gone")
    with pytest.raises(RejectedError, match="not there"):
        await confirmed(await anna.send(adapter.message("third", chat="=alice"), FakeAttempt()))
    await mallory.sync()
    assert [line for line in mallory.lines if line.command == "PRIVMSG"] == []


async def test_a_broken_connection_ends_a_question() -> None:
    """Who waits for an answer is told when there will be none, and lines about others are not taken for it."""
    asked: list[tuple[str, ...]] = []
    inquiries = Inquiries(lambda *words: asked.append(words), fold_rfc1459)
    question = asyncio.create_task(inquiries.whois("Bob"))
    await eventually(lambda: asked == [("WHOIS", "Bob")])
    assert not inquiries.take(parse(b":s 330 me eve mallory :is logged in as"))
    assert inquiries.take(parse(b":s 330 me bob robert :is logged in as"))
    inquiries.closed()
    with pytest.raises(NotConnectedError):
        await question


async def test_people_on_a_real_path_are_listed_by_account(rig: StartRig, serve: StartServer) -> None:
    """Who was in the channel before the bridge, logged in, is listed under the account; and named so in the roster."""
    server = await serve(accounts={"alice": "pw"})
    early = await Witness.connect("127.0.0.1", server.port or 0, "al", sasl=("alice", "pw"))
    await early.join("#a")
    adapter = await rig(server.port)
    adapter.witnesses.append(early)
    lists = lambda: [event for event in adapter.inbox.events if isinstance(event, RemoteMembers)]  # noqa: E731
    await adapter.inbox.until(lambda: bool(lists()))
    assert [(one.id, one.name) for one in lists()[0].members] == [("=alice", "al")]
    assert adapter.connector.person("AL") == "=alice"
    assert (await adapter.observer.user_info(RemoteUserId("=alice"))).name == "al"
