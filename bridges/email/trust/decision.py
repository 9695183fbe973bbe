"""What follows from the checks: a verdict, or the answer that refuses the mail. Pure.

In doubt an author is not verified: only a domain that answers for the mail lets its ghost speak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bridges.email.codec.addresses import Address
from bridges.email.codec.authres import AuthResults
from bridges.email.config.trust import Failed, Trouble, Trust
from bridges.email.mail import Policy, Result, Signature, Verdict
from bridges.email.ports import Reply
from bridges.email.trust.coverage import related
from bridges.email.trust.dmarc import DmarcCheck
from bridges.email.trust.spf import SpfCheck

OWN: Final = Reply(550, "5.7.1", "mail from this domain is taken only from who gives a password")
LATER: Final = Reply(451, "4.4.3", "your domain's records cannot be looked up now, try again later")
_DENIED: Final = "{} does not answer for this mail and wants such mail refused (DMARC)"


@dataclass(frozen=True, slots=True)
class Checks:
    """What our own checks gave. `arc` is the domain of a believed sealer for whom DMARC passed; empty for none."""

    spf: SpfCheck
    signatures: tuple[Signature, ...]
    dmarc: DmarcCheck
    arc: str = ""


def single_author(authors: Sequence[Address], froms: int) -> tuple[Address | None, str]:
    """The one author, or why there is none."""
    if len(authors) == 1 and froms == 1:
        return authors[0], ""
    if froms > 1 or len(authors) > 1:
        return None, "the mail says that it is from several people"
    return None, "the mail does not say who it is from"


def decide(settings: Trust, author: Address, checks: Checks) -> Verdict | Reply:
    """By our own checks."""
    dmarc = checks.dmarc
    passes = dmarc.spf or dmarc.dkim
    verdict = Verdict(author, checks.spf.result, checks.signatures, dmarc.result, dmarc.policy, verified=passes)
    if dmarc.result is Result.TEMPERROR:
        if settings.on_trouble is Trouble.RETRY:
            return LATER
        return replace(verdict, verified=False, reason="DNS did not answer, so it could not be checked")
    if passes:
        return verdict
    if checks.arc:
        return replace(verdict, verified=True, source=checks.arc)
    domain = author.domain
    if dmarc.result is Result.FAIL:
        action = {Policy.REJECT: settings.reject, Policy.QUARANTINE: settings.quarantine}.get(dmarc.policy, Failed.SHOW)
        if action is Failed.REFUSE:
            return Reply(550, "5.7.26", _DENIED.format(_ascii(author)))
        return replace(verdict, reason=f"{domain} does not answer for it (DMARC)", spam=action is Failed.SPAM)
    return replace(verdict, reason=f"{domain} does not say who may write for it")


def believe(author: Address, results: AuthResults) -> Verdict:
    """By what our own mail server in front has found. It was for that server to refuse the mail."""
    spf, dmarc = Result.NONE, Result.NONE
    signatures = []
    passes = False
    domain = _ascii(author)
    for one in results.found:
        if one.method == "spf":
            spf = one.result
            of = one.get("smtp.mailfrom").rpartition("@")[2].lower()
            passes |= one.result is Result.PASS and of == domain
        elif one.method == "dkim":
            of = one.get("header.d").lower()
            signatures.append(Signature(of, one.get("header.s"), one.result))
            passes |= one.result is Result.PASS and of == domain
        elif one.method == "dmarc" and one.get("header.from").rpartition("@")[2].lower().rstrip(".") == domain:
            dmarc = one.result if dmarc in (Result.NONE, Result.PASS) else dmarc
    if dmarc is not Result.NONE:
        passes = dmarc is Result.PASS
    policy = Policy(results.policy) if results.policy else Policy.NONE
    reason = "" if passes else f"{author.domain} does not answer for it, says {results.server}"
    return Verdict(author, spf, tuple(signatures), dmarc, policy, passes, results.server, reason)


def sent_by(author: Address, results: AuthResults) -> bool:
    """Whether the server in front says that the author's domain, or one above or below it, sent the mail (SPF)."""
    found = (one for one in results.found if one.method == "spf" and one.result is Result.PASS)
    return any(related(one.get("smtp.mailfrom").rpartition("@")[2].lower(), _ascii(author)) for one in found)


def logged_in(results: AuthResults) -> bool:
    """Whether the server in front says that the mail came with a password."""
    return any(one.method == "auth" and one.result is Result.PASS for one in results.found)


def _ascii(author: Address) -> str:
    try:
        return author.wire_domain
    except ValueError:
        return author.domain
