"""Lines onto the wire: under their labels, within the rate, and each with its place in the flight."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from bridge_core.api.errors import NotConnectedError, RejectedError, UnknownOutcomeError
from bridge_core.api.ids import ChatId
from bridge_core.api.network import Proof, Sent
from bridges.irc.codec.serializer import UnsafeLine, serialize_tags
from bridges.irc.flight import Outbound
from bridges.irc.outlet import rank_of
from bridges.irc.session import Session
from bridges.irc.state import NetworkState
from bridges.irc.transport import WriteBufferFull

_SAID: Final = ("PRIVMSG", "NOTICE")
"""Commands whose echo is due where echo-message and labeled-response are on."""
_LABEL_BYTES: Final = 80


class Unit(NamedTuple):
    """What is proved at once: a line, or all lines of one batch. `text` is what others will see of it."""

    command: str
    text: str
    body: bytes
    lines: int = 1


async def write(
    state: NetworkState,
    session: Session,
    target: str,
    units: Sequence[Unit],
    tags: Mapping[str, str],
    *,
    observed: bool,
) -> Sent:
    """Writes units with their labels; `tags` go with the first. Waits only for the bucket and for a slow server.

    Once one is written the message's fate is the confirmation's. Lines of one unit are never torn apart. `observed`:
    another connection will probably see them. Raises RejectedError for tags that cannot be sent and where the operators
    of a channel have said no meanwhile, NotConnectedError when nothing was written.
    """
    try:
        heads = serialize_tags(tags) if tags else b""
    except UnsafeLine as error:
        raise RejectedError(f"it cannot be sent on IRC: {error}") from None
    flight, labelled = session.flight, session.labels
    outbound = Outbound(asyncio.get_running_loop().create_future(), len(units))
    folded = state.isupport.fold(target)
    for index, unit in enumerate(units):
        if session.outlet is not None:
            for _ in range(unit.lines):
                await session.turn(rank_of(unit.command))
        while flight.full and session.up:
            session.wrote(False)
            await flight.room()
        while True:
            if not session.up:
                return _broken(outbound, index)
            if (closed := state.consents.closed) and target in closed:
                return _silenced(outbound, index, closed[ChatId(target)])
            try:
                # Room first, so that a label is used up only by a line that is written.
                session.reserve(len(unit.body) + len(heads) + _LABEL_BYTES)
                break
            except WriteBufferFull:
                await session.drain()
        echo = session.echoes and unit.command in _SAID
        label = flight.add(outbound, index, unit.command, folded, unit.text, labelled=labelled, echo=echo)
        if label:
            given = {"label": label, **tags} if index == 0 and tags else {"label": label}
            session.write(serialize_tags(given) + unit.body)
        else:
            session.write(heads + unit.body if index == 0 and heads else unit.body)
    session.wrote(observed)
    return Sent((), Proof.WRITTEN, outbound.future)


def _silenced(outbound: Outbound, written: int, reason: str) -> Sent:
    """Nobody may say anything there any more: what waits for its turn is not said."""
    if not written:
        raise RejectedError(reason)
    if not outbound.future.done():
        outbound.future.set_exception(RejectedError(f"only the beginning was said: {reason}"))
    return Sent((), Proof.WRITTEN, outbound.future)


def _broken(outbound: Outbound, written: int) -> Sent:
    """The connection went while a line waited for its turn."""
    if not written:
        raise NotConnectedError("the connection broke before anything was written")
    if not outbound.future.done():
        outbound.future.set_exception(UnknownOutcomeError("the connection broke in the middle of the message"))
    return Sent((), Proof.WRITTEN, outbound.future)
