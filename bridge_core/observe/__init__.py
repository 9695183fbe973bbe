"""What administrators see of a running bridge: log, metrics, health; and the one owner of tasks."""

from bridge_core.observe.health import Health, HealthServer
from bridge_core.observe.log import setup_logging
from bridge_core.observe.metrics import Metrics
from bridge_core.observe.tasks import TaskOwner

__all__ = ["Health", "HealthServer", "Metrics", "TaskOwner", "setup_logging"]
