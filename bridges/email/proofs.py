"""What was found out about who wrote a mail, in words: said once in a conversation, and again when it changes."""

from hashlib import blake2b

from bridges.email.conversations import Thread
from bridges.email.mail import Result, Verdict
from bridges.email.people import Author


def proof(verdict: Verdict, author: Author) -> str:
    """The words. Empty for our own users, who gave a password."""
    if author.login is not None:
        return ""
    if not author.verified:
        reason = verdict.reason or ("a filter thinks it is spam" if verdict.spam else "nothing proves who wrote it")
        return f"nobody answers for {author.address}: {reason}"
    passed = dict.fromkeys(one.domain for one in verdict.signatures if one.result is Result.PASS)
    found = ["DMARC"] if verdict.dmarc is Result.PASS else []
    found += [f"DKIM {', '.join(list(passed)[:3])}"] if passed else []
    found += ["SPF"] if verdict.spf is Result.PASS else []
    left = f"; not signed and so left out: {', '.join(verdict.loose)}" if verdict.loose else ""
    by = f", checked by {verdict.source}" if verdict.source else ""
    return f"{author.address} is verified: {', '.join(found) or 'believed'}{by}{left}"


def told(thread: Thread, author: Author, words: str) -> tuple[Thread, bool]:
    """The conversation once it has been told so much of who wrote; and whether that is news there."""
    who = _short(author.address.key)
    mark = f"{who}{_short(words)}"
    others = tuple(one for one in thread.proofs if not one.startswith(who))
    return thread.proved((*others, mark)), mark not in thread.proofs


def _short(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=6).hexdigest()
