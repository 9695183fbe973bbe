"""Which lanes wait for what was said earlier in their chat."""

from bridge_core.engine.precedence import PAST, Precedence

LANE = "net\x1fchat\x1f"


def test_what_an_earlier_process_stored_waits_for_its_past() -> None:
    """Fetched on before the journal was read: what both were found to hold since a crash goes in its order."""
    precedence = Precedence()
    precedence.keep(LANE, 7)  # connected: what is stored by now would go first
    precedence.opened(LANE + PAST)  # the next page comes
    precedence.release(LANE)  # all is fetched
    assert precedence.limit(LANE) == 7
    precedence.found(LANE + PAST)  # but entries of the past were stored before, and so was what came live then
    assert precedence.limit(LANE) == 0
    precedence.ended(LANE + PAST)
    assert precedence.limit(LANE) is None


def test_the_same_while_it_is_being_fetched() -> None:
    """Found before all is fetched: neither the end of that nor another connection lets anything overtake it."""
    precedence = Precedence()
    precedence.opened(LANE + PAST)
    precedence.keep(LANE, 7)
    precedence.found(LANE + PAST)
    precedence.keep(LANE, 9)
    precedence.release(LANE)
    assert precedence.limit(LANE) == 0
