"""The `Inspector` of the doors: who may come in, and who wrote a mail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from bridge_core.api.host import Host
from bridges.email.codec.addresses import Address
from bridges.email.codec.authres import AuthResults, parse_results
from bridges.email.config.trust import Failed, OwnDomain, Trust
from bridges.email.mail import Door, Envelope, Result, Verdict
from bridges.email.ports import Directory, OpenRaw, Reply, Visit
from bridges.email.trust.arc import ArcCheck
from bridges.email.trust.coverage import claimed, loose, loose_by_results
from bridges.email.trust.decision import OWN, Checks, believe, decide, logged_in, sent_by, single_author
from bridges.email.trust.dkim import DkimCheck
from bridges.email.trust.dmarc import check_dmarc
from bridges.email.trust.dnsbl import listed
from bridges.email.trust.filter import HttpFilter
from bridges.email.trust.greylist import Greylisting
from bridges.email.trust.head import Head, read_mail
from bridges.email.trust.lists import Senders
from bridges.email.trust.names import Names, Resolver
from bridges.email.trust.rates import PeerRates
from bridges.email.trust.spf import SpfCheck, check_spf, spf_domain

_log = structlog.get_logger(__name__)
DENIED: Final = Reply(550, "5.7.1", "mail from there is not taken here")
FASTER: Final = Reply(450, "4.7.1", "too much mail from your network, come back later")
_NOT_YOURS: Final = Reply(550, "5.7.1", "From names an address that is not yours")


class MailInspector:
    """All checks of one network. `domains` are its own. `start` before the doors open, `close` after they are shut."""

    def __init__(
        self,
        settings: Trust,
        domains: Collection[str],
        directory: Directory,
        host: Host,
        names: Names | None = None,
    ) -> None:
        self._settings = settings
        self._domains = frozenset(domains)
        self._directory = directory
        self._host = host
        self._names: Names = names or Resolver(settings.dns)
        self._allow = Senders(settings.allow)
        self._deny = Senders(settings.deny)
        self._near = Senders(str(one) for one in settings.believed)
        # Nobody is refused for what could not be looked at: SPF is of the peer of the server in front.
        self._mild = settings.model_copy(update={"reject": Failed.SHOW, "quarantine": Failed.SHOW})
        self._rates = PeerRates(settings.rates, host.clock)
        self._grey = Greylisting(settings.greylist, host)
        self._filter = HttpFilter(settings.filter) if settings.filter is not None else None
        self._tending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look after what is stored."""
        if self._tending is None and self._settings.greylist.enabled:
            self._tending = self._host.tasks.spawn(self._grey.tend(), "email greylist")

    async def close(self) -> None:
        """End what runs, and the connections. Idempotent."""
        tending, self._tending = self._tending, None
        if tending is not None:
            tending.cancel()
            with suppress(asyncio.CancelledError):
                await tending
        if self._filter is not None:
            await self._filter.close()

    async def connected(self, peer: str, door: Door) -> Reply | None:
        """As `Inspector.connected`: networks that are denied."""
        if door is Door.SMTP and self._deny.has_peer(peer):
            return Reply(554, "5.7.1", "mail from there is not taken here")
        return None

    async def sender(self, visit: Visit, sender: Address | None) -> Reply | None:
        """As `Inspector.sender`: our own domains are used by who gave a password, and by nobody else."""
        if visit.login is not None or sender is None:
            return None
        if self._deny.has(sender):
            return DENIED
        if visit.door is Door.SMTP and self._own(sender) and not self._believed(visit.door, visit.peer):
            return OWN if self._settings.own_domains is OwnDomain.REFUSE else None
        return None

    async def recipient(self, visit: Visit, sender: Address | None, address: Address) -> Reply | None:
        """As `Inspector.recipient`: rates, lists of bad senders, greylist; for strangers only."""
        if visit.door is not Door.SMTP or visit.login is not None or self._trusted(visit, sender):
            return None
        if not self._rates.take(visit.peer):
            return FASTER
        action, zone = await listed(self._names, visit.peer, self._settings.dnsbl)
        if action is Failed.REFUSE:
            return Reply(550, "5.7.1", f"your address is listed by {zone}")
        return await self._grey.check(visit.peer, sender, address)

    async def mail(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        """As `Inspector.mail`."""
        found = await self._judged(envelope, open_raw)
        if isinstance(found, Reply):
            return found
        if not found.verified and envelope.door is Door.SMTP and self._settings.dnsbl and not found.spam:
            action, _ = await listed(self._names, envelope.peer, self._settings.dnsbl)
            found = replace(found, spam=action is Failed.SPAM)
        if self._filter is not None and envelope.door is not Door.IMPORT:
            opinion = await self._filter.ask(envelope, open_raw)
            if opinion.refusal is not None:
                return opinion.refusal
            found = replace(found, spam=found.spam or opinion.spam)
        return found

    async def _judged(self, envelope: Envelope, open_raw: OpenRaw) -> Verdict | Reply:
        dkim: DkimCheck | None = None
        arc: ArcCheck | None = None
        checking = envelope.login is None and self._own_checks(envelope)

        def wants(head: Head) -> Sequence[Callable[[bytes], None]]:
            nonlocal dkim, arc
            if not checking or len(head.authors()) != 1:
                return ()
            now = envelope.received_at // 1000
            dkim = DkimCheck(head, now)
            arc = ArcCheck(head, self._settings.sealers)
            return (*dkim.feeds, *arc.feeds)

        head = await read_mail(open_raw, wants)
        author, reason = single_author(head.authors(), len(head.all("from")))
        if author is not None and self._deny.has(author):
            return DENIED
        if envelope.login is not None:
            return await self._sent(envelope.login, author)
        results = self._results(head) if self._believed(envelope.door, envelope.peer) else None
        refused = self._settings.own_domains is OwnDomain.REFUSE
        if refused and any(self._own(one) for one in head.authors()) and not (results and logged_in(results)):
            # As from us, without a password: only what we signed ourselves, and that a list, say, sends back.
            return await self._signed_here(head, author, dkim, results) or OWN
        if author is None:
            return Verdict(reason=reason)
        if results is not None:
            if logged_in(results) and self._own(author):
                return Verdict(author, verified=True, source=results.server)
            found = believe(author, results)
            if not found.verified or sent_by(author, results):
                return found
            return replace(found, loose=loose_by_results(head, author, found.signatures))
        if dkim is None or arc is None:
            return Verdict(author, reason="the mail server in front did not say who wrote it")
        return await self._checked(envelope, head, author, dkim, arc)

    async def _signed_here(
        self, head: Head, author: Address | None, dkim: DkimCheck | None, results: AuthResults | None
    ) -> Verdict | None:
        if author is None:
            return None
        if results is not None:
            signatures = claimed(head, believe(author, results).signatures)
        else:
            signatures = await dkim.results(self._names) if dkim is not None else ()
        # The very domain: a key of a subdomain, or of a service that SPF names, is not the whole domain's.
        good = [one for one in signatures if one.result is Result.PASS and one.domain == author.wire_domain]
        if not good:
            return None
        left = loose(head, [one.covered for one in good], signatures)
        return Verdict(author, signatures=signatures, verified=True, loose=left)

    async def _checked(
        self, envelope: Envelope, head: Head, author: Address, dkim: DkimCheck, arc: ArcCheck
    ) -> Verdict | Reply:
        try:
            domain = author.wire_domain
        except ValueError:
            return Verdict(author, reason="the author's domain is malformed")
        spf, signatures = await asyncio.gather(self._spf(envelope), dkim.results(self._names))
        dmarc = await check_dmarc(self._names, domain, (spf.result, spf.domain), signatures)
        sealer = ""
        if not (dmarc.spf or dmarc.dkim) and dmarc.result is not Result.TEMPERROR:
            sealer = await arc.sealer(self._names, domain)
        settings = self._mild if self._believed(envelope.door, envelope.peer) else self._settings
        found = decide(settings, author, Checks(spf, signatures, dmarc, sealer))
        if isinstance(found, Reply) or not found.verified or dmarc.spf:
            return found  # who sent it for the author's domain wrote all of it
        proofs = [one.covered for one in dmarc.signers] or [arc.covered]
        return replace(found, loose=loose(head, proofs, signatures))

    async def _spf(self, envelope: Envelope) -> SpfCheck:
        """Of the reverse-path; of the HELO name where that is null (RFC 7208 section 2.4)."""
        if not envelope.peer or self._believed(envelope.door, envelope.peer):
            return SpfCheck(Result.NONE)
        sender = envelope.sender
        try:
            domain = sender.wire_domain if sender is not None else spf_domain(envelope.helo)
        except ValueError:
            domain = ""
        if not domain or domain.startswith("["):
            return SpfCheck(Result.NONE)
        local = sender.local if sender is not None else "postmaster"
        return await check_spf(self._names, envelope.peer, local, domain, envelope.helo)

    async def _sent(self, login: str, author: Address | None) -> Verdict | Reply:
        """Who gave a password writes under their own addresses, and is believed to."""
        if author is None or not await self._directory.may_send_as(login, author):
            return _NOT_YOURS
        return Verdict(author, verified=True)

    def _own_checks(self, envelope: Envelope) -> bool:
        """Whether we look ourselves: where nobody of ours has. What relays for us is not who sent it: no SPF then."""
        return not (self._believed(envelope.door, envelope.peer) and self._settings.authserv_id is not None)

    def _believed(self, door: Door, peer: str) -> bool:
        """Whether the peer is a mail server of our own."""
        return door is Door.LMTP or (door is Door.SMTP and self._near.has_peer(peer))

    def _results(self, head: Head) -> AuthResults | None:
        """What it has found out, by the topmost field alone: others may have come with the mail."""
        fields = head.all("authentication-results")
        if self._settings.authserv_id is None or not fields or not head.whole:
            return None
        results = parse_results(head.value(fields[0]))
        return results if results is not None and results.server == self._settings.authserv_id.lower() else None

    def _trusted(self, visit: Visit, sender: Address | None) -> bool:
        return self._believed(visit.door, visit.peer) or self._allow.has_peer(visit.peer) or self._allow.has(sender)

    def _own(self, address: Address) -> bool:
        return address.domain in self._domains
