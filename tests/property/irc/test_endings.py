"""What servers say when they end or refuse a connection, told apart by what is to be done then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridges.irc.endings import Cause, Ending, by_numeric, by_standard_reply, by_words, joined

# Server, its ERROR, and what it means. Words of InspIRCd, ngIRCd (binaries as Debian has them), ratbox and solanum,
# hybrid, UnrealIRCd, Ergo, ircu and snircd (Undernet, QuakeNet), bahamut (DALnet), ircd2 (IRCnet).
SAID = [
    ("inspircd", "Closing link: (anna@192.0.2.1) [K-lined: spam]", Cause.BANNED, "K-line"),
    ("inspircd", "Closing link: (anna@192.0.2.1) [G-lined: spam]", Cause.BANNED, "G-line"),
    ("inspircd", "Closing link: (anna@192.0.2.1) [Z-lined: proxy]", Cause.ADDRESS, "Z-line"),
    ("inspircd", "Closing link: (anna@192.0.2.1) [R-lined: bad words]", Cause.USERINFO, "R-line"),
    (
        "inspircd",
        "Closing link: (unknown@192.0.2.1) [Z-lined: Your IP range has been attempting to connect too many times in too"
        " short a duration. Wait a while, and you will be able to connect.]",
        Cause.THROTTLED,
        "",
    ),
    (
        "inspircd",
        "Closing link: (anna@192.0.2.1) [No more connections allowed from your host via this connect class (local)]",
        Cause.FULL,
        "",
    ),
    ("inspircd", "Closing link: (anna@192.0.2.1) [Killed (oper (bye))]", Cause.KILLED, ""),
    ("inspircd", "Closing link: (anna@192.0.2.1) [Ping timeout: 120 seconds]", Cause.LOST, ""),
    ("inspircd", "Closing link: (anna@192.0.2.1) [Access denied by configuration]", Cause.ADDRESS, ""),
    ("ngircd", '"spam" (K-Line)', Cause.BANNED, "K-line"),
    ("ngircd", '"spam" (G-Line)', Cause.BANNED, "G-line"),
    ("ngircd", "Connection limit reached", Cause.SERVER_FULL, ""),
    ("ngircd", "Connection refused, too many connections from your IP address", Cause.FULL, ""),
    ("ngircd", "KILLed by oper: bye", Cause.KILLED, ""),
    ("solanum", "Closing Link: 192.0.2.1 (K-Lined)", Cause.BANNED, "K-line"),
    ("solanum", "Closing Link: 192.0.2.1 (D-Lined)", Cause.ADDRESS, "D-line"),
    ("solanum", "Closing Link: 192.0.2.1 (Bad user info)", Cause.USERINFO, ""),
    ("solanum", "Closing Link: 192.0.2.1 (X-Lined)", Cause.USERINFO, "X-line"),
    ("solanum", "Closing Link: 192.0.2.1 (Too many host connections (local))", Cause.FULL, ""),
    ("solanum", "Closing Link: 192.0.2.1 (Too many user connections (global))", Cause.FULL, ""),
    ("solanum", "Closing Link: 192.0.2.1 (No more connections allowed in your connection class)", Cause.FULL, ""),
    ("solanum", "Closing Link: 192.0.2.1 (Sorry, server is full - try later)", Cause.SERVER_FULL, ""),
    ("solanum", "Closing Link: 192.0.2.1 (You are not authorised to use this server)", Cause.ADDRESS, ""),
    ("solanum", "Reconnecting too fast, throttled.", Cause.THROTTLED, ""),
    ("solanum", "Closing Link: 192.0.2.1 (Killed (NickServ (GHOST command used by anna_)))", Cause.LOST, ""),
    ("solanum", "Closing Link: 192.0.2.1 (Excess Flood)", Cause.LOST, ""),
    ("hybrid", "Trying to reconnect too fast.", Cause.THROTTLED, ""),
    ("hybrid", "You have been D-lined.", Cause.ADDRESS, "D-line"),
    ("unrealircd", "Closing Link: anna[192.0.2.1] (User has been banned from server: spam)", Cause.BANNED, ""),
    ("unrealircd", "Closing Link: anna[192.0.2.1] (G:Lined: spam)", Cause.BANNED, "G-line"),
    ("unrealircd", "Closing Link: [192.0.2.1] (Throttled: Reconnecting too fast)", Cause.THROTTLED, ""),
    ("unrealircd", "Closing Link: [192.0.2.1] (Too many connections from your IP)", Cause.FULL, ""),
    ("unrealircd", "Closing Link: [192.0.2.1] (Too many unknown connections from your IP)", Cause.FULL, ""),
    ("unrealircd", "Closing Link: [192.0.2.1] (This server is full.)", Cause.SERVER_FULL, ""),
    ("ergo", "You are banned from this server (spam)", Cause.BANNED, ""),
    ("ergo", "Too many clients from your network", Cause.FULL, ""),
    (
        "ergo",
        "You have attempted to connect too many times within a short duration. Wait a while, and you will be able to"
        " connect.",
        Cause.THROTTLED,
        "",
    ),
    ("ircu", "Closing Link: anna by irc.example (K-lined)", Cause.BANNED, "K-line"),
    ("ircu", "Closing Link: anna by irc.example (G-lined)", Cause.BANNED, "G-line"),
    (
        "ircu",
        "Closing Link: anna by irc.example (Sorry, your connection class is full - try again later or try another"
        " server)",
        Cause.FULL,
        "",
    ),
    ("ircu", "Closing Link: anna by irc.example (Too many connections from your host)", Cause.FULL, ""),
    ("ircu", "Your host is trying to (re)connect too fast -- throttled", Cause.THROTTLED, ""),
    ("ircu", "Closing Link: anna by irc.example (Unauthorized connection)", Cause.ADDRESS, ""),
    ("bahamut", "Closing Link: 192.0.2.1 (Autokilled)", Cause.BANNED, "G-line"),
    ("services", "Closing Link: h (Killed (OperServ (User has been permanently banned)))", Cause.BANNED, ""),
    ("ircnet", "Closing Link: anna[~a@192.0.2.1] (Too many host connections (global))", Cause.FULL, ""),
    ("ircnet", "Closing Link: anna[~a@192.0.2.1] (All connections in use)", Cause.SERVER_FULL, ""),
    ("any", "Closing Link: 192.0.2.1 (Connection reset by peer)", Cause.LOST, ""),
    ("any", "Closing Link: 192.0.2.1 (Nick collision)", Cause.LOST, ""),
    ("any", "Server shutting down", Cause.LOST, ""),
]


@pytest.mark.parametrize(("server", "text", "cause", "ban"), SAID)
def test_the_words_of_real_servers(server: str, text: str, cause: Cause, ban: str) -> None:
    """Each server's words lead to what is right for them, in whatever case they are."""
    for said in (text, text.upper(), text.lower()):
        assert by_words(said) == Ending(cause, said, ban), server


@given(st.sampled_from([case for case in SAID if case[3]]), st.text(st.characters(codec="ascii"), max_size=60))
def test_a_named_ban_is_one_whatever_its_reason_says(case: tuple[str, str, Cause, str], reason: str) -> None:
    """Staff choose the reason: it turns a ban into nothing that is tried again, and so does no other user."""
    _, text, cause, ban = case
    busy = ("attempting to connect too many times. Wait a while, and you will",) if ban != "Z-line" else ()
    for words in (reason, "too many connections", "throttled", "server is full", "Killed (x (ghost))", *busy):
        said = by_words(f"{text} {words}")
        assert (said.cause, said.ban) == (cause, ban)


@given(st.text(max_size=200))
def test_any_text_has_a_meaning(text: str) -> None:
    """No ERROR breaks the reading of it, and its text is kept for people."""
    assert by_words(text).reason == text


@given(st.sampled_from([text for _, text, cause, _ in SAID if cause is Cause.FULL or cause is Cause.SERVER_FULL]))
def test_a_numeric_is_believed_before_words(text: str) -> None:
    """Behind 465 the ERROR's words name the kind of the ban, and make nothing else of it."""
    banned = by_numeric("465", "You are banned from this server- " + text)
    assert banned is not None
    assert banned.cause is Cause.BANNED
    assert joined(banned, by_words(text)).cause is Cause.BANNED
    lined = joined(by_numeric("465", "You are banned from this server"), by_words("Closing Link: h (K-Lined)"))
    assert (lined.cause, lined.ban) == (Cause.BANNED, "K-line")


def test_the_reason_of_a_ban_is_kept_wherever_it_is_said() -> None:
    """InspIRCd says why in the ERROR, solanum in the numeric: who is banned reads it in both cases."""
    for numeric, error in (
        ("You're banned!", "Closing link: (anna@h) [K-lined: spam]"),
        ("You are banned from this server- spam", "Closing Link: h (K-Lined)"),
    ):
        told = joined(by_numeric("465", numeric), by_words(error))
        assert told.ban == "K-line"
        assert "spam" in told.reason and told.reason.startswith(numeric)


def test_the_numerics() -> None:
    """465 and 466 are bans, 463 is about the address, 464 about the password, others end nothing."""
    assert by_numeric("466", "") == Ending(Cause.BANNED, "banned from the server")
    assert getattr(by_numeric("463", "Your host isn't among the privileged"), "cause", None) is Cause.ADDRESS
    assert getattr(by_numeric("464", "Password incorrect"), "cause", None) is Cause.CREDENTIALS
    assert by_numeric("433", "Nickname is already in use") is None
    zlined = by_numeric("465", "You are banned")
    assert joined(zlined, by_words("Closing link: (x) [Z-lined: proxy]")).cause is Cause.ADDRESS
    busy = by_words("[Z-lined: Your IP range has been attempting to connect too many times in too short a duration.]")
    assert joined(zlined, busy).cause is Cause.THROTTLED
    assert joined(None, busy) is busy


def test_standard_replies() -> None:
    """A network that wants an account says so by a code; codes that are not known end nothing."""
    assert getattr(by_standard_reply("ACCOUNT_REQUIRED", "log in"), "cause", None) is Cause.CREDENTIALS
    assert by_standard_reply("SOMETHING_ELSE", "x") is None
