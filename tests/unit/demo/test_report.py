"""What a demo's report says, and when it is a good one."""

from bridge_core.api.demo import Crossing, Way
from bridge_core.demo.report import NetworkReport, Report, StepReport

_GOOD = StepReport("plain", Way.TO_NETWORK, 12.34, Crossing("hi", "<a> hi"))
_BAD = StepReport("plain", Way.TO_MATRIX, 5.0, reason="nothing came")


def _network(*steps: StepReport, server: str = "irc 1", error: str = "", unavailable: bool = False) -> NetworkReport:
    return NetworkReport("irc", server, list(steps), error, unavailable)


def test_json_has_the_promised_keys() -> None:
    """A good run is `ok`, `seconds` and the networks with their steps, and nothing else."""
    report = Report(networks={"irc": _network(_GOOD)}, seconds=1.234)
    step = {"name": "plain", "direction": "to_network", "ok": True, "ms": 12.3}
    assert report.as_json() == {
        "ok": True,
        "seconds": 1.23,
        "networks": {"irc": {"ok": True, "server": "irc 1", "steps": [step]}},
    }


def test_failures_carry_their_reason() -> None:
    """A step, a network and a run that failed say why."""
    found = Report(networks={"irc": _network(_GOOD, _BAD, error="it died")}, error="too late").as_json()
    assert (found["ok"], found["error"]) == (False, "too late")
    assert (found["networks"]["irc"]["ok"], found["networks"]["irc"]["error"]) == (False, "it died")
    assert found["networks"]["irc"]["steps"][1]["error"] == "nothing came"


def test_one_failed_step_fails_the_run() -> None:
    """A run is good only when every step of every network that ran is."""
    assert Report(networks={"irc": _network(_GOOD)}).ok
    assert not Report(networks={"irc": _network(_GOOD, _BAD)}).ok
    assert not Report(networks={"irc": _network(_GOOD), "xmpp": _network(_BAD)}).ok


def test_what_is_stored_counts() -> None:
    """In a demo of encryption the search is part of the report, and a run is good only when it found nothing."""
    report = Report(networks={"irc": _network(_GOOD)}, stored=_network(_GOOD))
    assert report.ok
    assert report.as_json()["stored"]["ok"]
    assert not Report(networks={"irc": _network(_GOOD)}, stored=_network(_BAD)).ok
    assert not Report(networks={"irc": _network(_GOOD)}, stored=_network()).ok


def test_nothing_held_is_nothing_shown() -> None:
    """A run without networks, or with a network that took no step, is not a good one."""
    assert not Report().ok
    assert not Report(networks={"irc": _network()}).ok


def test_what_is_not_installed_counts_only_when_required() -> None:
    """A network that this machine lacks leaves the run good, unless it is required."""
    networks = {"irc": _network(_GOOD), "xmpp": _network(server="", error="not installed", unavailable=True)}
    assert Report(networks=networks).ok
    required = Report(frozenset(["xmpp"]), networks)
    assert not required.ok
    assert required.missing() == ["xmpp"]


def test_what_does_not_start_fails_the_run() -> None:
    """A network that is installed and does not start fails the run even when nobody requires it."""
    networks = {"irc": _network(_GOOD), "xmpp": _network(server="", error="crashed")}
    assert not Report(networks=networks).ok
