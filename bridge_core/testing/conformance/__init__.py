"""AdapterConformance: the tests that every adapter inherits, for adapters of others too.

    class TestMine(AdapterConformance, ReplyTests, EditTests):
        subject = MySubject

A `Subject` plays the network's people and tells what they saw; `Bench` is the bridge before a homeserver. See
`docs/guides/adapter.md`, and `tests/conformance/test_adapters.py` for echo and IRC.
"""

from bridge_core.testing.conformance.basics import AdapterConformance, FeatureTests
from bridge_core.testing.conformance.bench import Bench, Event, Human, Place, Running, Server
from bridge_core.testing.conformance.history import HistoryTests, PublicHistoryTests
from bridge_core.testing.conformance.messages import (
    EditTests,
    FileTests,
    PollTests,
    ReactionRemovalTests,
    ReactionTests,
    RedactionTests,
    ReplyTests,
)
from bridge_core.testing.conformance.people import InfoTests, MemberTests, ModerationTests, ReceiptTests, TypingTests
from bridge_core.testing.conformance.relations import ConsentTests, LoginTests
from bridge_core.testing.conformance.subject import Feature, Heard, LoginWay, Subject

__all__ = [
    "AdapterConformance",
    "Bench",
    "ConsentTests",
    "EditTests",
    "Event",
    "Feature",
    "FeatureTests",
    "FileTests",
    "Heard",
    "HistoryTests",
    "Human",
    "InfoTests",
    "LoginTests",
    "LoginWay",
    "MemberTests",
    "ModerationTests",
    "Place",
    "PollTests",
    "PublicHistoryTests",
    "ReactionRemovalTests",
    "ReactionTests",
    "ReceiptTests",
    "RedactionTests",
    "ReplyTests",
    "Running",
    "Server",
    "Subject",
    "TypingTests",
]
