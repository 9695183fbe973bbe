"""FakeHomeserver: a homeserver inside a test's own process, with Synapse's habits and failures on order."""

from bridge_core.testing.homeserver.failure import MatrixError
from bridge_core.testing.homeserver.profile import FakeAppservice, FakeProfile
from bridge_core.testing.homeserver.room import FakeRoom
from bridge_core.testing.homeserver.server import FakeHomeserver
from bridge_core.testing.homeserver.user import FakeUser

__all__ = ["FakeAppservice", "FakeHomeserver", "FakeProfile", "FakeRoom", "FakeUser", "MatrixError"]
