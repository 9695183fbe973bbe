"""More than 300 odd mails, each read as its sender meant it."""

import re

import pytest

from tests.bridges.email.parsing import corpus_headers, corpus_parts, corpus_reports, corpus_texts
from tests.bridges.email.parsing.case import Case
from tests.bridges.email.parsing.mails import parsed

CASES = [*corpus_headers.CASES, *corpus_parts.CASES, *corpus_texts.CASES, *corpus_reports.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.odd).strip("-"))
def test_an_odd_mail_is_read(case: Case) -> None:
    """What its sender meant is what is found."""
    assert case.look(parsed(case.data)) == case.want


def test_the_corpus_is_large_and_each_mail_described() -> None:
    """More than 300 mails, no two described alike."""
    assert len(CASES) > 300
    odd = [case.odd for case in CASES]
    assert len(set(odd)) == len(odd), sorted(one for one in set(odd) if odd.count(one) > 1)
