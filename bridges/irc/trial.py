"""Tries a login on a connection of its own, before anything of it is kept."""

from bridge_core.api.errors import RejectedError
from bridge_core.api.network import Login
from bridges.irc import logins
from bridges.irc.endings import Cause, Ending, RefusedError
from bridges.irc.session import Session
from bridges.irc.state import NetworkState


class Trial:
    """One try. The connection joins nothing, hears nothing and is closed at once."""

    def __init__(self, state: NetworkState) -> None:
        self._state = state

    async def account(self, login: Login) -> str:
        """The account that the server logs us in to. Raises RejectedError in words for the user.

        Where the server has no SASL a password cannot be tried, and its account is as it was named.
        """
        state = self._state
        try:
            session = Session(
                state,
                self,
                await state.access.approach(login),
                nicks=state.nickbook.candidates(login, state.nicklen),
                real=state.access.realname(login),
                wanted=(),
                login=lambda secure: logins.mechanisms(login.secrets, login.settings, secure=secure),
            )
            await session.open()
        except RefusedError as error:
            ending = error.ending
            if ending.cause is Cause.CREDENTIALS:
                raise RejectedError(f"the network does not take it: {ending.reason}") from None
            raise RejectedError(f"it could not be tried now: {ending.reason}") from None
        found, offered, own = session.account, "sasl" in session.caps.available, session.own
        await session.close("Only a look")
        if own is not None:
            state.forget(own)
        if found is not None:
            return login.settings[logins.ACCOUNT] if found == "*" else found
        if logins.PASSWORD not in login.secrets:
            raise RejectedError("the network does not know that certificate")
        if offered:
            raise RejectedError("the network has no way to log in that is safe on this connection")
        if state.config.logins.nickserv is None:
            raise RejectedError("there are no logins on this network")
        return login.settings[logins.ACCOUNT]

    def heard(self, lines: list[bytes]) -> None:
        """Nothing of it is of interest."""

    def closed(self, ending: Ending) -> None:
        """It was to be closed anyway."""
