"""Who somebody is: the ids of people, by their account where they are logged in to one, else by their nick.

An account is told by the server alone (account-tag, account-notify, extended-join, WHOX), so nobody takes another's by
taking their nick. The three kinds of ids never meet, whatever a network allows in nicks:

- `=account`, the account's A to Z folded: that joins no two accounts on any network, and services write an account in
  one spelling;
- `==nick` for a nick that starts with `=` itself (some networks take any visible character);
- the folded nick for all others.

An account whose name starts with `=` gives no id: who is logged in to it is known by their nick.
"""

from typing import Final

from bridge_core.api.ids import RemoteUserId
from bridges.irc.codec.casemap import fold_ascii

_MARK: Final = "="
_ACCOUNT_AT_MOST: Final = 128


def of_nick(folded: str) -> RemoteUserId:
    """The id of whoever has a nick (folded by the network's CASEMAPPING) and no account."""
    return RemoteUserId(_MARK + folded if folded[:1] == _MARK else folded)


def of_account(account: str) -> RemoteUserId | None:
    """The id of whoever is logged in to an account; None for what is none (`*`, `0`, empty) or cannot be one's name."""
    if not account or account in ("*", "0") or account[0] == _MARK or len(account) > _ACCOUNT_AT_MOST:
        return None
    if any(ord(character) <= 32 or ord(character) == 127 for character in account):
        return None
    return RemoteUserId(_MARK + fold_ascii(account))


def of(folded: str, account: str | None) -> RemoteUserId:
    """The id of whoever has this folded nick, and this account if it is one."""
    return (of_account(account) if account else None) or of_nick(folded)


def account_of(person: str) -> str | None:
    """The folded account of an id; None for one that is made of a nick."""
    return person[1:] if person[:1] == _MARK and person[1:2] != _MARK and len(person) > 1 else None


def nick_of(person: str) -> str | None:
    """The folded nick of an id; None for one that is made of an account."""
    if person[:1] != _MARK:
        return person
    return person[1:] if person[1:2] == _MARK else None
