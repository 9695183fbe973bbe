"""The benchmark of accepted mail runs, small."""

import pytest

from benchmarks.options import Options
from benchmarks.scenarios import mail


@pytest.mark.server
async def test_mails_are_accepted_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our doors and Postfix take what the load generator sends; large ones come at the same time."""
    monkeypatch.setattr(mail, "LARGE", 1024 * 1024)
    monkeypatch.setattr(mail, "LARGE_AT_ONCE", 5)
    found = await mail.accept(Options(count=40))
    assert found["mails_per_s"] > 0
    assert found["trusted_mails_per_s"] > 0
    assert found["postfix_mails_per_s"] > 0
    assert (await mail.large(Options()))["accepted"] == 5
