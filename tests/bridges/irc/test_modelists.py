"""The kept lists of channels: complete when read, right after each change, and never surer than what is known."""

from bridge_core.api.ids import ChatId
from bridges.irc.codec.isupport import from_tokens
from bridges.irc.codec.masks import Effect, Who
from bridges.irc.modelists import ModeLists

CHAT = ChatId("#a")
NETWORK = from_tokens({"CHANMODES": "beIq,k,l,imnst", "EXTBAN": "$,a"})
BARE = from_tokens({"CHANMODES": "b,k,l,imnst"})
BOB = Who("Bob", "bob", "host.example", "", "Bob")


def read(lists: ModeLists, letter: str, *masks: str) -> None:
    """The server's answer to a question for a list."""
    for mask in masks:
        lists.told(CHAT, letter, mask, "op!o@h", NETWORK)
    lists.complete(CHAT, letter)


def change(lists: ModeLists, letter: str, mask: str, *, adding: bool = True) -> None:
    """A MODE line."""
    lists.changed(CHAT, letter, mask, "op", NETWORK, adding=adding)


def test_a_ban_is_sure_once_the_exceptions_are_known() -> None:
    """Without the list of exceptions a ban may not hold; with it, it does, unless somebody is excepted."""
    lists = ModeLists()
    read(lists, "b", "*!*@host.example")
    found = lists.against(CHAT, BOB, NETWORK)
    assert found is not None and not found.sure and found.effect is Effect.BAN
    assert "*!*@host.example" in found.reason and "op" in found.reason
    read(lists, "e")
    found = lists.against(CHAT, BOB, NETWORK)
    assert found is not None and found.sure
    change(lists, "e", "bob!*@*")
    assert lists.against(CHAT, BOB, NETWORK) is None
    change(lists, "e", "bob!*@*", adding=False)
    assert lists.against(CHAT, BOB, NETWORK) is not None
    read(lists, "e", "$a:somebody")
    unknown = BOB._replace(account=None)
    found = lists.against(CHAT, unknown, NETWORK)
    assert found is not None and not found.sure


def test_where_there_are_no_exceptions_a_ban_is_sure() -> None:
    """A network without +e has none to ask for."""
    lists = ModeLists()
    lists.changed(CHAT, "b", "bob!*@*", "op", BARE, adding=True)
    assert lists.against(CHAT, BOB, BARE) is None  # it may be one of many: nothing is known before they are read
    lists.complete(CHAT, "b")
    lists.changed(CHAT, "b", "bob!*@*", "op", BARE, adding=True)
    found = lists.against(CHAT, BOB, BARE)
    assert found is not None and found.sure


def test_quiets_silence_and_let_in() -> None:
    """Who is quieted may come in, and may not speak."""
    lists = ModeLists()
    read(lists, "e")
    read(lists, "q", "bob!*@*")
    found = lists.against(CHAT, BOB, NETWORK)
    assert found is not None and found.effect is Effect.MUTE
    assert lists.against(CHAT, BOB, NETWORK, entering=True) is None


def test_reading_again_forgets_what_is_gone() -> None:
    """A list that is read anew replaces the old one, and changes that come between its lines are kept."""
    lists = ModeLists()
    read(lists, "b", "a!*@*", "b!*@*")
    lists.told(CHAT, "b", "b!*@*", "op", NETWORK)
    lists.told(CHAT, "b", "c!*@*", "op", NETWORK)
    change(lists, "b", "d!*@*")
    change(lists, "b", "c!*@*", adding=False)
    lists.complete(CHAT, "b")
    assert [row.mask.text for row in lists.rows(CHAT, "b")] == ["b!*@*", "d!*@*"]
    assert len(lists) == 2
    lists.forget(CHAT)
    assert len(lists) == 0 and not lists.known(CHAT, "b")


def test_lists_are_bounded() -> None:
    """A list without end is cut off, and is not taken for complete."""
    lists = ModeLists()
    read(lists, "b", *(f"n{number}!*@*" for number in range(2000)))
    assert len(lists) == 1000
    assert not lists.known(CHAT, "b")
    for number in range(2000):
        change(lists, "b", f"m{number}!*@*")
    assert len(lists) == 1000
    read(lists, "b", "x!*@*")
    assert lists.known(CHAT, "b") and len(lists) == 1


def test_every_change_has_another_version() -> None:
    """What was judged before is judged anew after each change of a list."""
    lists = ModeLists()
    seen = {lists.version(CHAT)}
    for step in (
        lambda: read(lists, "b", "x!*@*"),
        lambda: change(lists, "b", "y!*@*"),
        lambda: change(lists, "b", "y!*@*", adding=False),
        lambda: lists.forget(CHAT),
        lambda: lists.clear(),
    ):
        step()
        assert lists.version(CHAT) not in seen
        seen.add(lists.version(CHAT))


def test_a_renamed_channel_keeps_its_lists() -> None:
    """What was known of it is known under its other name, cut off lists as such, and nothing under the old one."""
    lists = ModeLists()
    read(lists, "b", "*!*@host.example")
    read(lists, "q", *[f"n{number}!*@*" for number in range(1001)])
    new = ChatId("#new")
    lists.moved(CHAT, new)
    assert lists.against(new, BOB, NETWORK) is not None and lists.against(CHAT, BOB, NETWORK) is None
    assert lists.known(new, "b") and not lists.known(new, "q") and not lists.known(CHAT, "b")
    assert len(lists) == 1001
