"""Real network servers on loopback, each in its own folder and on free ports, for tests."""
