"""End-to-bridge encryption: keys, sessions and trust. No HTTP, no SQL: those come in through `ports`."""
