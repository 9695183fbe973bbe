"""What checks of mail give, and what owners of domains want."""

from enum import StrEnum


class Result(StrEnum):
    """What a check gave, in the words of RFC 8601."""

    PASS = "pass"  # noqa: S105 - a result, not a password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Policy(StrEnum):
    """What the owner of a domain wants done with mail that is not theirs (RFC 9989)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"
