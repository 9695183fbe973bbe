"""The rules of bridging. No HTTP, no SQL, no words of any network: those come in through `ports`."""
