"""ARC: forwarders that are believed, by chains that another library has sealed."""

import base64
import hashlib
import re
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bridges.email.mail import Verdict
from bridges.email.ports import Reply
from tests.bridges.email.trust.mails import plain, rsa
from tests.bridges.email.trust.test_inspector import inspector, judged
from tests.bridges.email.trust.zone import Records

WORLD: Records = {
    "s1._domainkey.list.test": {"TXT": [rsa()[1]]},
    "s1._domainkey.other.test": {"TXT": [rsa()[1]]},
}
LIST = "203.0.113.5"


def _relaxed(field: bytes) -> bytes:
    name, _, value = field.partition(b":")
    return name.strip().lower() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip() + b"\r\n"


def _sign(data: bytes) -> bytes:
    key: Any = load_pem_private_key(rsa()[0], None)
    return base64.b64encode(key.sign(data, PKCS1v15(), SHA256()))


def sealed(raw: bytes, domain: str, results: str, valid: str = "") -> bytes:
    """The mail with one more set, which says what `domain` found. Written for the test, checked against dkimpy."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = [line + b"\r\n" for line in head.split(b"\r\n")]
    kinds = (b"ARC-Authentication-Results", b"ARC-Message-Signature", b"ARC-Seal")
    number = 1 + sum(field.startswith(kinds[2]) for field in fields)
    tail = b"i=%d; a=rsa-sha256; d=%s; s=s1; " % (number, domain.encode())
    digest = base64.b64encode(hashlib.sha256(body).digest())
    authentication = kinds[0] + b": i=%d; %s; %s\r\n" % (number, domain.encode(), results.encode())
    message = kinds[1] + b": " + tail + b"c=relaxed/relaxed; h=from:subject; bh=" + digest + b"; b="
    signed = [next(one for one in fields if one.startswith(name)) for name in (b"From", b"Subject")]
    message += _sign(b"".join(map(_relaxed, signed)) + _relaxed(message).removesuffix(b"\r\n")) + b"\r\n"
    valid = valid or ("none" if number == 1 else "pass")
    seal = kinds[2] + b": " + tail + b"cv=" + valid.encode() + b"; b="
    earlier = [
        next(one for one in fields if one.startswith(kind + b": i=%d;" % at))
        for at in range(1, number)
        for kind in kinds
    ]
    data = b"".join(map(_relaxed, [*earlier, authentication, message])) + _relaxed(seal).removesuffix(b"\r\n")
    return seal + _sign(data) + b"\r\n" + message + authentication + raw


GOOD = "dkim=pass header.d=there.test; dmarc=pass header.from=there.test"


@pytest.mark.parametrize(
    ("raw", "verified"),
    [
        (sealed(plain(), "list.test", GOOD), True),
        (sealed(sealed(plain(), "other.test", GOOD), "list.test", "arc=pass; " + GOOD), True),
        (sealed(plain(), "list.test", "dmarc=fail header.from=there.test"), False),
        (sealed(plain(), "list.test", "dmarc=pass header.from=evil.test"), False),
        (sealed(plain(), "other.test", GOOD), False),
        (sealed(sealed(plain(), "list.test", GOOD), "other.test", "arc=pass; " + GOOD), False),
        (sealed(plain(), "list.test", GOOD).replace(b"Hello", b"Hallo"), False),
        (sealed(plain("eve@there.test"), "list.test", GOOD).replace(b"From: eve@", b"From: bob@"), False),
        (sealed(plain(), "list.test", "dmarc=fail header.from=there.test").replace(b"=fail", b"=pass"), False),
        (sealed(plain(), "list.test", GOOD).replace(b"cv=none", b"cv=pass"), False),
        (sealed(plain(), "list.test", GOOD).replace(b"i=1", b"i=2"), False),
        (plain(), False),
    ],
    ids=range(12),
)
async def test_a_believed_sealer(raw: bytes, verified: bool) -> None:
    """What a believed sealer found counts where the whole chain holds and it is the last to have sealed; else not."""
    found = await judged(raw, inspector(WORLD, sealers=["list.test"], reject="show"), peer=LIST)
    assert isinstance(found, Verdict)
    assert (found.verified, found.source) == (verified, "list.test" if verified else "")


async def test_nobody_is_believed_unasked() -> None:
    """Without configured sealers a good chain changes nothing."""
    assert isinstance(await judged(sealed(plain(), "list.test", GOOD), inspector(WORLD), peer=LIST), Reply)


def test_the_chains_of_these_tests_are_good() -> None:
    """Another library finds the same of them."""
    for raw in (sealed(plain(), "list.test", GOOD), sealed(sealed(plain(), "other.test", GOOD), "list.test", GOOD)):
        valid, _, _ = dkim.arc_verify(raw, dnsfunc=lambda name, timeout=5: rsa()[1].encode())
        assert valid == b"pass"
