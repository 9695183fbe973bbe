"""The clients of one network's logins: several per user, one of them preferred."""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge_core.api.ids import LoginId, UserId
from bridge_core.api.network import Client, Login


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A login and its client."""

    login: Login
    client: Client


class Clients:
    """Which client speaks for whom. From memory, without I/O; costs the same however many there are."""

    def __init__(self) -> None:
        self._by_login: dict[LoginId, LoggedIn] = {}
        self._by_user: dict[UserId, tuple[LoggedIn, ...]] = {}
        """Each user's, that which speaks for them first."""

    def __len__(self) -> int:
        return len(self._by_login)

    def __iter__(self) -> Iterator[LoggedIn]:
        return iter(list(self._by_login.values()))

    def get(self, login: LoginId) -> LoggedIn | None:
        """The login with this id."""
        return self._by_login.get(login)

    def of(self, user: UserId) -> tuple[LoggedIn, ...]:
        """All of a user's logins, that which speaks for them first."""
        return self._by_user.get(user, ())

    def first(self, user: UserId) -> LoggedIn | None:
        """The login that speaks for a user where nothing else decides."""
        found = self._by_user.get(user)
        return found[0] if found else None

    def add(self, one: LoggedIn) -> LoggedIn | None:
        """Take in a login; return what had its id before, whose place it takes.

        Logins that a user made come before those that were provided, earlier ones before later ones.
        """
        login = one.login
        before = self._by_login.get(login.id)
        if before is not None and before.login.user != login.user:
            raise ValueError(f"the login {login.id} is somebody else's")
        self._by_login[login.id] = one
        mine = self.of(login.user)
        if before is not None:
            self._by_user[login.user] = tuple(one if other.login.id == login.id else other for other in mine)
        else:
            self._by_user[login.user] = tuple(sorted((*mine, one), key=lambda other: other.login.provided))
        return before

    def remove(self, login: LoginId) -> LoggedIn | None:
        """Forget a login; return what it was."""
        gone = self._by_login.pop(login, None)
        if gone is not None:
            left = tuple(other for other in self.of(gone.login.user) if other.login.id != login)
            if left:
                self._by_user[gone.login.user] = left
            else:
                self._by_user.pop(gone.login.user, None)
        return gone

    def prefer(self, user: UserId, login: LoginId) -> bool:
        """Let this login speak for its user from now on; False when it is none of theirs."""
        mine = self.of(user)
        chosen = [other for other in mine if other.login.id == login]
        if not chosen:
            return False
        self._by_user[user] = (*chosen, *(other for other in mine if other.login.id != login))
        return True
