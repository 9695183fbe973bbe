"""The counters of encryption. Labels are our own words: nothing of strangers."""

from bridge_core.observe.metrics import Metrics

__all__ = ["CryptoCounts"]


class CryptoCounts:
    """Makes the counters where they are shown."""

    def __init__(self, metrics: Metrics) -> None:
        self.messages = metrics.counter("crypto_messages", "Messages encrypted and decrypted", ["way"])
        self.rejected = metrics.counter("crypto_rejected", "Encrypted events that were refused", ["reason"])
        self.to_device = metrics.counter("crypto_to_device", "To-device messages by what became of them", ["result"])
        self.shares = metrics.counter("crypto_shares", "Keys given to devices, or not, and sessions made", ["result"])
        self.claims = metrics.counter("crypto_claims", "One-time keys claimed of devices", ["result"])
        self.devices = metrics.counter("crypto_devices", "Device keys that were not believed", ["reason"])
        self.uploads = metrics.counter("crypto_uploads", "Uploads of our own keys", ["kind"])
        self.requests = metrics.counter("crypto_requests", "Requests for keys, ours and others'", ["result"])
        self.backup = metrics.counter("crypto_backup", "Sessions of the backup of keys", ["result"])
