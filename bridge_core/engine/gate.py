"""Who may say what where: every check that a message passes on its way, in both directions."""

from collections.abc import Sequence
from typing import Protocol

from bridge_core.api.events import RemoteSender
from bridge_core.api.matrix import MatrixSender
from bridge_core.engine.store_ports import PortalRow


class Check(Protocol):
    """One rule. It answers from memory at once, and when the answer is not known it holds: nothing passes meanwhile.

    Both raise RejectedError in words for the sender and the admin, or TransientError to hold the message for now.
    """

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """Whether what a Matrix user does in a portal's room may go to the network."""

    def incoming(self, portal: PortalRow, sender: RemoteSender) -> None:
        """Whether what a person of the network does in a chat may go to Matrix."""


class Gate:
    """All checks in order: the first that objects counts."""

    def __init__(self, checks: Sequence[Check] = ()) -> None:
        self._checks = tuple(checks)

    def outgoing(self, portal: PortalRow, sender: MatrixSender) -> None:
        """As `Check.outgoing`, for all of them."""
        for check in self._checks:
            check.outgoing(portal, sender)

    def incoming(self, portal: PortalRow, sender: RemoteSender) -> None:
        """As `Check.incoming`, for all of them."""
        for check in self._checks:
            check.incoming(portal, sender)
