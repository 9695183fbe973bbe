"""Whom the masks of channels name, as the servers that make them read them."""

import pytest

from bridges.irc.codec.isupport import Isupport, from_tokens
from bridges.irc.codec.masks import Effect, Who, account_mask, glob, host_mask, read_mask

PLAIN = from_tokens({})
SOLANUM = from_tokens({"EXTBAN": "$,ajrxz", "CHANMODES": "eIbq,k,flj,CFLMPQScgimnprstuz", "ACCOUNTEXTBAN": "a"})
UNREAL = from_tokens({"EXTBAN": "~,acnqrtT", "ACCOUNTEXTBAN": "account,a"})
INSPIRCD = from_tokens({"EXTBAN": ",ACORUjmrz", "ACCOUNTEXTBAN": "account,R"})
BOB = Who("Bob", "~bob", "host.example", "bobby", "Bob B.")
GUEST = Who("guest", "web", "2001:db8::7", "", "guest")
DIM = Who("dim", "x", "dim.example")


@pytest.mark.parametrize(
    ("isupport", "mask", "who", "named"),
    [
        (PLAIN, "*!*@host.example", BOB, True),
        (PLAIN, "bob!*@*", BOB, True),
        (PLAIN, "BOB!*@*", BOB, True),
        (PLAIN, "b?b!*@*", BOB, True),
        (PLAIN, "b??b!*@*", BOB, False),
        (PLAIN, "*!bob@*", BOB, False),
        (PLAIN, "*!*bob@*", BOB, True),
        (PLAIN, "*.example", BOB, True),
        (PLAIN, "bob", BOB, True),
        (PLAIN, "~bob@host.example", BOB, True),
        (PLAIN, "*!*@2001:db8::/32", GUEST, True),
        (PLAIN, "*!*@2001:db9::/32", GUEST, False),
        (PLAIN, "*!*@10.0.0.0/8", BOB, False),
        (PLAIN, "*!*@gateway/web/x", BOB, False),
        (PLAIN, "", BOB, None),
        (PLAIN, "   ", BOB, None),
        (PLAIN, "a b!c@d", BOB, None),
        (PLAIN, "x" * 600, BOB, None),
        (PLAIN, "$a:bobby", BOB, False),
        (SOLANUM, "$a:BOBBY", BOB, True),
        (SOLANUM, "$a:other", BOB, False),
        (SOLANUM, "$a", BOB, True),
        (SOLANUM, "$a", GUEST, False),
        (SOLANUM, "$~a", GUEST, True),
        (SOLANUM, "$~a", BOB, False),
        (SOLANUM, "$~a", DIM, None),
        (SOLANUM, "$a:x", DIM, None),
        (SOLANUM, "$r:bob?b.", BOB, True),
        (SOLANUM, "$x:bob!*@*#Bob*", BOB, True),
        (SOLANUM, "$z", BOB, None),
        (SOLANUM, "$j:#other", BOB, None),
        (SOLANUM, "$~j:#other", BOB, None),
        (SOLANUM, "$", BOB, None),
        (SOLANUM, "$~", BOB, None),
        (SOLANUM, "$:x", BOB, None),
        (SOLANUM, "*!*@host.example$#elsewhere", BOB, True),
        (SOLANUM, "$a:bobby$#elsewhere", BOB, True),
        (UNREAL, "~a:bobby", BOB, True),
        (UNREAL, "~account:bobby", BOB, True),
        (UNREAL, "~a:0", GUEST, True),
        (UNREAL, "~a:0", BOB, False),
        (UNREAL, "~r:Bob_B.", BOB, True),
        (UNREAL, "~t:60:*!*@host.example", BOB, True),
        (UNREAL, "~t:60:~a:bobby", BOB, True),
        (UNREAL, "~T:censor:*badword*", BOB, None),
        (UNREAL, "~c:#other", BOB, None),
        (INSPIRCD, "R:bobby", BOB, True),
        (INSPIRCD, "account:bobby", BOB, True),
        (INSPIRCD, "R:*", GUEST, False),
        (INSPIRCD, "U:*!*@*", GUEST, True),
        (INSPIRCD, "U:*!*@*", BOB, False),
        (INSPIRCD, "r:Bob*", BOB, True),
        (INSPIRCD, "j:#other", BOB, None),
        (INSPIRCD, "!R:bobby", BOB, False),
        (INSPIRCD, "*!*@2001:db8::7", GUEST, True),
    ],
)
def test_masks_name_whom_their_server_means(isupport: Isupport, mask: str, who: Who, named: bool | None) -> None:
    """True and False where the mask is understood, None where nobody can tell: then the server decides."""
    assert read_mask(mask, isupport).names(who) is named


@pytest.mark.parametrize(
    ("isupport", "mask", "effect"),
    [
        (PLAIN, "*!*@host.example", Effect.BAN),
        (UNREAL, "~q:*!*@host.example", Effect.MUTE),
        (UNREAL, "~quiet:~a:bobby", Effect.MUTE),
        (UNREAL, "~t:5:~q:*!*@host.example", Effect.MUTE),
        (INSPIRCD, "m:*!*@host.example", Effect.MUTE),
        (INSPIRCD, "m:R:bobby", Effect.MUTE),
        (INSPIRCD, "m:j:#other", Effect.OTHER),
        (INSPIRCD, "S:*!*@host.example", Effect.OTHER),
        (UNREAL, "~n:*!*@host.example", Effect.OTHER),
        (SOLANUM, "$z", Effect.OTHER),
    ],
)
def test_masks_do_what_their_server_does(isupport: Isupport, mask: str, effect: Effect) -> None:
    """Who is silenced may come in; what is neither keeps nobody out."""
    found = read_mask(mask, isupport)
    assert found.effect is effect
    assert effect is Effect.OTHER or found.names(BOB) is True


@pytest.mark.parametrize("mask", ["*", "*!*@*", "**!?*@*", "*@*", "*!*@0.0.0.0/0", "*!*@::/0", "m:*!*@*"])
def test_masks_of_everybody_are_known_as_such(mask: str) -> None:
    """Whoever makes something of a mask for each whom it names has to know when it names all (issue 1551)."""
    assert read_mask(mask, INSPIRCD).everybody
    assert not read_mask("*!*@*.example", INSPIRCD).everybody


@pytest.mark.parametrize(
    "mask", ["", " ", "$", "~", ":", "!", "@", "!@", "~q:", "~t:", "~t:1:", "R:", "m:", "U:", "$x:"]
)
@pytest.mark.parametrize("isupport", [SOLANUM, UNREAL, INSPIRCD])
def test_an_odd_mask_bans_nobody_in_particular(mask: str, isupport: Isupport) -> None:
    """Issue 1551: what is cut off or empty is either understood as everybody, openly, or names nobody."""
    found = read_mask(mask, isupport)
    assert found.everybody or found.effect is Effect.OTHER or not any(found.names(who) for who in (BOB, GUEST, DIM))


@pytest.mark.parametrize(
    ("isupport", "account", "mask"),
    [
        (PLAIN, "bobby", None),
        (SOLANUM, "bobby", "$a:bobby"),
        (UNREAL, "bobby", "~account:bobby"),
        (INSPIRCD, "bobby", "account:bobby"),
        (from_tokens({"EXTBAN": ",ACR"}), "bobby", "R:bobby"),
        (SOLANUM, "", None),
        (SOLANUM, "b*", None),
        (SOLANUM, "b c", None),
        (SOLANUM, "b\r\nQUIT", None),
    ],
)
def test_accounts_are_banned_as_the_network_writes_it(isupport: Isupport, account: str, mask: str | None) -> None:
    """The mask of an account, and none where the network has none or the name would mean more than one."""
    assert account_mask(account, isupport) == mask
    if mask is not None:
        assert read_mask(mask, isupport).names(BOB) is True


def test_hosts_are_banned_literally() -> None:
    """A host that is no plain word makes no mask: it could name everybody."""
    assert host_mask("host.example") == "*!*@host.example"
    assert [host_mask(bad) for bad in ("", "*", "a b", "a,b", "a\n")] == [None] * 5


def test_globs_end_soon() -> None:
    """A pattern made to be slow is not: stars do not multiply."""
    assert not glob("*a" * 200 + "b", "a" * 500)
    assert glob("*a*b*", "xaxbx") and not glob("a?", "a") and glob("a*", "a")
