"""What can go wrong between the core and an adapter, and what the core does then.

BridgeError
├── TransientError            try again later, order kept
│   └── NotConnectedError     the connection is not there; nothing was written
├── RateLimitedError          try again after `retry_after` seconds, order kept
├── RejectedError             never works: tell the sender why, go on
│   └── UnsupportedError      the network has no such thing
├── UnknownOutcomeError       it may or may not have arrived: resolve, else the network's `unknown` policy
└── BackpressureError         the journal is full: refuse new work upstream with a temporary error
"""


class BridgeError(Exception):
    """An expected failure; its text is for the admin's log and, where it says so, for the sender."""


class TransientError(BridgeError):
    """Trying again later may work. The lane waits, so that order is kept."""


class NotConnectedError(TransientError):
    """The network cannot be reached now, and nothing of this message was written."""


class RateLimitedError(BridgeError):
    """The other side asks to wait `retry_after` seconds before trying again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RejectedError(BridgeError):
    """The other side will not have this message. The text is shown to the sender."""


class UnsupportedError(RejectedError):
    """The chat cannot carry this. The text is shown to the sender once."""


class UnknownOutcomeError(BridgeError):
    """The message was handed over and its fate is not known, for example since the connection broke."""


class BackpressureError(BridgeError):
    """The journal holds as much as it may. Nothing was stored: refuse upstream with a temporary error."""
