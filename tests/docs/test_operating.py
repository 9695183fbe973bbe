"""docs/guides/operating.md says what the code does."""

import re
from pathlib import Path

from bridge_core.api.ids import NetworkId
from bridge_core.crypto.counts import CryptoCounts
from bridge_core.observe.metrics import Metrics
from bridges.email.config.network import EmailConfig
from bridges.email.connector import EmailConnector
from bridges.irc.config import IrcConfig
from bridges.irc.connector import IrcConnector
from tests.docs.source import ROOT, code_of, log_events, rows, sources
from tests.harness import Harness

PAGE = ROOT / "docs" / "guides" / "operating.md"


def test_every_warning_and_error_is_explained() -> None:
    """The table of errors and warnings has each event of these levels, at its levels, and no other."""
    code = {
        event: levels & {"warning", "error"} for event, levels in log_events().items() if levels & {"warning", "error"}
    }
    page: dict[str, set[str]] = {}
    for cells in rows(PAGE, "Errors and warnings"):
        for event in code_of(cells[0]):
            page[event] = set(cells[1].split(", ")) - {"info"}
    assert page == code


def test_events_at_info_exist() -> None:
    """Each event named as worth knowing is logged at that level."""
    named = [event for cells in rows(PAGE, "Worth knowing at level info") for event in code_of(cells[0])]
    events = log_events()
    assert [event for event in named if "info" not in events.get(event, set())] == []


async def test_every_metric_is_explained(tmp_path: Path) -> None:
    """The table of metrics has what a bridge shows, and no other; failures of tasks are shown from the first on."""
    async with Harness(
        tmp_path, {"echo": {"type": "echo", "portals": ["lobby"]}}, encryption={"mode": "auto"}
    ) as harness:
        text = harness.running.metrics.render().decode()
    shown = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    figures = [*IrcConnector(NetworkId("irc"), IrcConfig(server="irc.test")).figures()]
    figures += EmailConnector(NetworkId("mail"), EmailConfig(hostname="mail.test", domains=["test"])).figures()
    shown |= {f"matrix_bridge_{one.name}{'_total' if one.counter else ''}" for one in figures}
    named = {metric for cells in rows(PAGE, "Metrics") for metric in code_of(cells[0])}
    assert named == shown | {"matrix_bridge_task_failures_total"}


def test_every_metric_of_encryption_is_explained() -> None:
    """The table of encryption's metrics has all that the machine counts, with its labels, and no other."""
    metrics = Metrics()
    CryptoCounts(metrics)
    shown = {f"matrix_bridge_{name}_total" for name in metrics.snapshot()}
    named = {metric for cells in rows(PAGE, "Metrics of encryption") for metric in code_of(cells[0])}
    assert named == shown


def test_users_are_told_in_these_words() -> None:
    """Each notice and reason that is quoted to admins is in the code, word by word."""
    code = "\n".join(text for _, text in sources("bridge_core/engine"))
    code = code.replace("\\u26a0", "⚠").replace("\\u2713", "✓")
    missing = []
    for cells in rows(PAGE, "What users are told"):
        for quoted in code_of(cells[0]):
            pieces = re.split(r"NETWORK|REASON|TIME|\u26a0|\u2713|message was|change was made on", quoted)
            missing += [piece for piece in pieces if piece.strip(" :.") and piece.strip() not in code]
    assert missing == []
