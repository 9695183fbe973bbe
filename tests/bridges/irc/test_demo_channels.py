"""Channels of the demo server over real sockets: lists, extbans, statuses, forwards, modes, renames."""

from __future__ import annotations

import pytest

from bridges.irc.demo.options import CAPABILITIES
from bridges.irc.demo.witness import Witness
from tests.bridges.irc.demo_rig import Connect, Start, failed, numeric


async def modes(op: Witness, channel: str, text: str) -> None:
    """Change modes and wait until the server is through."""
    op.raw(f"MODE {channel} {text}")
    await op.sync()


async def refused(witness: Witness, channel: str, code: str) -> None:
    """Try to join and wait for the refusal."""
    mark = witness.mark()
    witness.raw(f"JOIN {channel}")
    await witness.wait_for(numeric(code), since=mark)


async def test_each_list_is_kept_shown_and_emptied(start: Start, connect: Connect) -> None:
    """Bans, exceptions, invite exceptions and quiets are listed with their own numerics, and can be taken off."""
    server = await start()
    op = await connect(server, "op")
    await op.join("#a")
    for letter, entry, end in (("b", "367", "368"), ("e", "348", "349"), ("I", "346", "347"), ("q", "728", "729")):
        await modes(op, "#a", f"+{letter} Some*!*@Host")
        mark = op.mark()
        op.raw(f"MODE #a {letter}")
        await op.wait_for(numeric(end), since=mark)
        found = [line for line in op.lines[mark:] if line.command == entry]
        assert ["Some*!*@Host" in line.params for line in found] == [True]
        await modes(op, "#a", f"-{letter} sOME*!*@hOST")
        mark = op.mark()
        op.raw(f"MODE #a {letter}")
        await op.wait_for(numeric(end), since=mark)
        assert not any(line.command == entry for line in op.lines[mark:])


async def test_exceptions_lift_bans_and_invitation(start: Start, connect: Connect) -> None:
    """+e lets a banned client in, +I lets it past +i, +q keeps it from speaking only."""
    server = await start()
    op, guest = await connect(server, "op"), await connect(server, "guest")
    await op.join("#a")
    await modes(op, "#a", "+b *!*@*")
    await refused(guest, "#a", "474")
    await modes(op, "#a", "+ei guest!*@*")
    await refused(guest, "#a", "473")
    await modes(op, "#a", "+I guest!*@*")
    await guest.join("#a")
    guest.privmsg("#a", "past the ban")
    await op.wait_text("past the ban")
    await modes(op, "#a", "-be *!*@* guest!*@*")
    await modes(op, "#a", "+q guest")
    guest.privmsg("#a", "hush")
    await guest.wait_for(numeric("404"))


@pytest.mark.parametrize(
    ("style", "mask", "token"),
    [("$", "$a:anna", "ACCOUNTEXTBAN=a"), ("~", "~account:anna", "ACCOUNTEXTBAN=a,account"), ("", "R:anna", "=R")],
)
async def test_account_bans_follow_the_account(
    start: Start, connect: Connect, style: str, mask: str, token: str
) -> None:
    """An account extban, in each server's style, keeps the account out under any nick, and nobody else."""
    server = await start(extbans=style, accounts={"anna": "pw"})
    op, anna = await connect(server, "op"), await connect(server, "other", sasl=("anna", "pw"))
    guest = await connect(server, "guest")
    assert any(word.endswith(token) for line in op.lines if line.command == "005" for word in line.params)
    await op.join("#a")
    await modes(op, "#a", f"+b {mask}")
    await refused(anna, "#a", "474")
    await guest.join("#a")


async def test_an_odd_mask_is_about_nobody(start: Start, connect: Connect) -> None:
    """An extban of an unknown kind matches no one; one without an account matches who has none."""
    server = await start()
    op, guest = await connect(server, "op"), await connect(server, "guest")
    await op.join("#a")
    await modes(op, "#a", "+bbb $x:whatever $ $:")
    await guest.join("#a")
    guest.part("#a")
    await modes(op, "#a", "+b $~a")
    await refused(guest, "#a", "474")


async def test_all_statuses_of_prefix(start: Start, connect: Connect) -> None:
    """With the full PREFIX all signs show, a half-operator may voice but not op, and +q is no list."""
    server = await start(prefix="(qaohv)~&@%+", founder="qo")
    boss, half = await connect(server, "boss", "multi-prefix"), await connect(server, "half")
    guest = await connect(server, "guest")
    for witness in (boss, half, guest):
        await witness.join("#a")
    assert any("CHANMODES=beI,k,fl,imnprRsStz" in line.params for line in boss.lines)
    await modes(boss, "#a", "+h half")
    await modes(half, "#a", "+v guest")
    boss.raw("NAMES #a")
    names = await boss.wait_for(lambda r: r.command == "353" and "+guest" in r.text)
    assert set(names.text.split()) == {"~@boss", "%half", "+guest"}
    half.raw("MODE #a +o guest")
    await half.wait_for(numeric("482"))
    half.raw("KICK #a boss")
    await half.wait_for(lambda r: r.command == "482")
    guest.raw("PRIVMSG %#a :for the staff")
    await half.wait_text("for the staff", "%#a")
    await boss.wait_text("for the staff", "%#a")


async def test_a_refused_client_is_forwarded(start: Start, connect: Connect) -> None:
    """+f and a ban with a forward send on with 470, once; without them the refusal stands."""
    server = await start()
    op, guest = await connect(server, "op"), await connect(server, "guest")
    for channel in ("#a", "#b", "#c"):
        await op.join(channel)
    await modes(op, "#a", "+if #b")
    guest.raw("JOIN #a")
    sent = await guest.wait_for(numeric("470"))
    assert sent.params[1:3] == ("#a", "#b")
    await guest.wait_for(lambda r: r.command == "JOIN" and r.params[0] == "#b")
    guest.part("#b")
    await modes(op, "#a", "-i+b guest!*@*$#c")
    guest.raw("JOIN #a")
    await guest.wait_for(lambda r: r.command == "JOIN" and r.params[0] == "#c")
    guest.part("#c")
    await modes(op, "#c", "+if #a")
    await refused(guest, "#a", "473")


async def test_modes_for_accounts_tls_and_operators(start: Start, connect: Connect) -> None:
    """+r and +S keep out, +R and +z decide who is heard by whom."""
    server = await start(accounts={"anna": "pw"})
    op, guest = await connect(server, "op"), await connect(server, "guest")
    anna, voice = await connect(server, "anna", sasl=("anna", "pw")), await connect(server, "voice")
    await op.join("#a")
    await modes(op, "#a", "+r")
    await refused(guest, "#a", "477")
    await anna.join("#a")
    await modes(op, "#a", "-r+S")
    await refused(guest, "#a", "489")
    await modes(op, "#a", "-S+R")
    await guest.join("#a")
    await voice.join("#a")
    guest.privmsg("#a", "nobody")
    await guest.wait_for(numeric("404"))
    anna.privmsg("#a", "somebody")
    await op.wait_text("somebody", "#a")
    await modes(op, "#a", "-R+mzv voice")
    guest.privmsg("#a", "for operators")
    await op.wait_text("for operators", "@#a")
    await voice.sync()
    assert not any("for operators" in line.text for line in voice.lines)


async def test_invitations_are_told_and_pass_everything(start: Start, connect: Connect) -> None:
    """INVITE reaches the invited and members with invite-notify, and lets in once, past +i and a ban."""
    server = await start()
    op, member = await connect(server, "op"), await connect(server, "member", "invite-notify")
    plain, guest = await connect(server, "plain"), await connect(server, "guest")
    for witness in (op, member, plain):
        await witness.join("#a")
    await modes(op, "#a", "+ib guest")
    op.raw("INVITE guest #a")
    assert (await op.wait_for(numeric("341"))).params[1:3] == ("guest", "#a")
    assert (await guest.wait_for(numeric("INVITE"))).params == ("guest", "#a")
    assert (await member.wait_for(numeric("INVITE"))).params == ("guest", "#a")
    await guest.join("#a")
    guest.part("#a")
    await refused(guest, "#a", "474")
    await plain.sync()
    assert not any(line.command == "INVITE" for line in plain.lines)


async def test_other_kinds_of_channels(start: Start, connect: Connect) -> None:
    """CHANTYPES decides what is a channel."""
    server = await start(chantypes="#&+!")
    anna, bert = await connect(server, "anna"), await connect(server, "bert")
    for channel in ("&local", "+modeless", "!safe"):
        await anna.join(channel)
        await bert.join(channel)
        anna.privmsg(channel, f"in {channel}")
        await bert.wait_text(f"in {channel}", channel)
    plain = await connect(await start(), "anna")
    plain.raw("JOIN &local")
    await plain.wait_for(numeric("403"))


async def test_a_full_list_says_so(start: Start, connect: Connect) -> None:
    """One mask more than MAXLIST allows is refused with 478."""
    server = await start(list_length=1)
    op = await connect(server, "op")
    await op.join("#a")
    await modes(op, "#a", "+bb one two")
    assert (await op.wait_for(numeric("478"))).params[2] == "two!*@*"


async def test_a_channel_is_renamed(start: Start, connect: Connect) -> None:
    """RENAME reaches who knows it, others part and join; modes, members and history stay; the old name leads on."""
    server = await start()
    op = await connect(server, "op", "draft/channel-rename")
    knows, old = await connect(server, "knows", "draft/channel-rename"), await connect(server, "old")
    for witness in (op, knows, old):
        await witness.join("#a")
    await modes(op, "#a", "+v knows")
    op.raw("RENAME #a #b :typo")
    assert (await knows.wait_for(numeric("RENAME"))).params == ("#a", "#b", "typo")
    assert (await old.wait_for(numeric("PART"))).params == ("#a", "typo")
    await old.wait_for(lambda r: r.command == "JOIN" and r.params[0] == "#b")
    knows.privmsg("#b", "here now")
    await old.wait_text("here now", "#b")
    late = await connect(server, "late")
    later = await connect(server, "later", "draft/channel-rename", "standard-replies")
    later.raw("JOIN #a")
    await later.wait_for(failed("JOIN", "CHANNEL_RENAMED"))
    late.raw("JOIN #a")
    await late.wait_for(numeric("470"))
    await late.wait_for(lambda r: r.command == "JOIN" and r.params[0] == "#b")


async def test_a_rename_is_refused_with_its_reason(start: Start, connect: Connect) -> None:
    """A taken name, another kind of channel, and no operator are refused; the switch takes the command away."""
    server = await start(chantypes="#&")
    op, guest = await connect(server, "op", "draft/channel-rename"), await connect(server, "guest")
    for channel in ("#a", "#b"):
        await op.join(channel)
        await guest.join(channel)
    op.raw("RENAME #a #b")
    await op.wait_for(failed("RENAME", "CHANNEL_NAME_IN_USE"))
    op.raw("RENAME #a &a")
    await op.wait_for(failed("RENAME", "CANNOT_RENAME"))
    guest.raw("RENAME #a #c")
    await guest.wait_for(numeric("482"))
    off = await connect(await start(capabilities=CAPABILITIES - {"draft/channel-rename"}), "op")
    off.raw("RENAME #a #b")
    await off.wait_for(numeric("421"))
