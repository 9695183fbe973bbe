"""What the other side says to being bridged: chats wait for it, and end at once when it is taken back."""

from typing import Any, Final

import structlog

from bridge_core.api.errors import BridgeError, RejectedError, UnsupportedError
from bridge_core.api.events import RemoteConsent, RemoteSender
from bridge_core.api.host import Clock
from bridge_core.api.ids import NetworkId, PortalKey
from bridge_core.api.matrix import MatrixSender
from bridge_core.api.network import Consent
from bridge_core.engine.conversion import NothingToDo
from bridge_core.engine.gate import Check
from bridge_core.engine.optouts import OptOuts
from bridge_core.engine.portals import PortalIndex
from bridge_core.engine.ports import Entry
from bridge_core.engine.requests import Prepared
from bridge_core.engine.status import Status
from bridge_core.engine.store_ports import PortalRow

log = structlog.get_logger(__name__)

CONSENT: Final = "consent"
"""Option of a portal: what the other side said, as a word of `Consent`. Without it nobody had to be asked."""
EVIDENCE: Final = "consent_evidence"
"""Option: who said so last, when (milliseconds), and what the network gave as evidence."""
SINCE: Final = "consent_since"
"""Option: since when consent is given without a break, in milliseconds since 1970."""
_LONGEST: Final = 2000


class Consents(Check):
    """Nothing crosses while the other side was only asked, or has refused. Every word of it is kept with the portal."""

    def __init__(self, portals: PortalIndex, optouts: OptOuts, status: Status, clock: Clock) -> None:
        self._portals = portals
        self._optouts = optouts
        self._status = status
        self._clock = clock

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`. Each room is told once."""
        if why := against(portal):
            raise UnsupportedError(why)

    def incoming(self, portal: PortalRow, sender: RemoteSender | None) -> None:
        """As `Check.incoming`."""
        if why := against(portal):
            raise RejectedError(why)

    async def said(self, entry: Entry, event: RemoteConsent) -> list[Prepared]:
        """A converter: somebody there allows the bridging, or no longer does. Ends in NothingToDo."""
        network = NetworkId(entry.network)
        if self._optouts.private_chat(network, event.by.id) == event.chat:
            await self._optouts.person(network, event.by.id, out=not event.granted, entry=entry.id)
        portal = self._portals.get(PortalKey(network, event.chat, event.receiver))
        if portal is None:
            raise NothingToDo("consent noted" if event.granted else "refusal noted")
        if event.granted and portal.options.get(EVIDENCE, {}).get("entry", 0) > entry.id:
            raise NothingToDo("it was taken back meanwhile")
        before = portal.options.get(CONSENT)
        now = Consent.GRANTED if event.granted else Consent.REFUSED
        evidence: dict[str, Any] = {"by": event.by.id, "at": entry.received_at, "entry": entry.id}
        if event.evidence:
            evidence["evidence"] = event.evidence[:_LONGEST]
        since = given_since(portal) or entry.received_at if event.granted else None
        portal = await self._portals.set_options(portal, {EVIDENCE: evidence, CONSENT: now.value, SINCE: since})
        log.info("consent", network=network, chat=event.chat, granted=event.granted, by=event.by.id)
        if before == now.value and event.granted:
            raise NothingToDo("consent was given before")
        who = event.by.name or event.by.id
        text = (
            f"{who} allows that this chat is bridged. From now on messages cross."
            if event.granted
            else f"{who} does not want this chat to be bridged. Nothing crosses any more."
        )
        for room in portal.rooms:
            await self._status.say(room, text, key=f"consent\x1f{room}\x1f{entry.id}.{entry.received_at}")
        raise NothingToDo("consent given" if event.granted else "consent refused")

    async def refused(self, network: NetworkId, event: RemoteConsent, entry: int) -> None:
        """A refusal came in as this entry: it counts before everything that waits in the lane. Raises nothing.

        The lane does it again, with a notice, in its own time.
        """
        portal = self._portals.get(PortalKey(network, event.chat, event.receiver))
        try:
            if self._optouts.private_chat(network, event.by.id) == event.chat:
                await self._optouts.person(network, event.by.id, out=True, entry=entry)
            if portal is not None:
                evidence = {"by": event.by.id, "at": self._clock.now_ms(), "entry": entry}
                refused = {CONSENT: Consent.REFUSED.value, EVIDENCE: evidence, SINCE: None}
                await self._portals.set_options(portal, refused)
        except BridgeError as error:
            log.info("refusal_put_off", network=network, chat=event.chat, error=str(error))


def given_since(portal: PortalRow) -> int:
    """Since when the other side has agreed (ms): what was said before is not for Matrix. 0: it had not to be asked."""
    if portal.options.get(CONSENT) != Consent.GRANTED.value:
        return 0
    since = portal.options.get(SINCE)
    if since is None:  # agreed with an earlier version, which kept the evidence only
        since = portal.options.get(EVIDENCE, {}).get("at", 0)
    return since if isinstance(since, int) else 0


def against(portal: PortalRow) -> str:
    """What the other side has against the portal; empty for nothing. A word that is not known is no consent."""
    said = portal.options.get(CONSENT)
    if said is None or said == Consent.GRANTED.value:
        return ""
    if said == Consent.ASKED.value:
        return "the other side has been asked and has not agreed yet"
    return "the other side does not want this chat to be bridged"
