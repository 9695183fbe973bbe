"""Answers of DNS are kept for their time, and for no longer."""

import time
from typing import Any

import pytest

from bridges.email.config.trust import Dns
from bridges.email.trust.names import Resolver
from tests.bridges.email.trust.zone import served


async def test_what_was_answered_is_asked_once_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name and type. When its time is over it is asked again, and what changed is seen."""
    clock: Any = type("Clock", (), {"now": 0.0})()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + clock.now)
    async with served({"a.test": {"TXT": ["one"], "A": ["192.0.2.1"]}}) as server:
        resolver = Resolver(Dns(servers=(f"127.0.0.1:{server.port}",)))
        assert await resolver.txt("a.test") == await resolver.txt("a.test") == ["one"]
        assert await resolver.addresses("a.test", v6=False) == ["192.0.2.1"]
        assert server.asked == ["udp TXT a.test", "udp A a.test"]
        server.records["a.test"]["TXT"] = ["two"]
        clock.now = 50.0
        assert await resolver.txt("a.test") == ["one"]
        clock.now = 61.0
        assert await resolver.txt("a.test") == ["two"]


async def test_what_is_not_there_is_asked_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, and no such record, are kept for a minute: an answer that does not say how long is not for ever."""
    clock: Any = type("Clock", (), {"now": 0.0})()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + clock.now)
    async with served({"b.test": {"A": ["192.0.2.1"]}}) as server:
        resolver = Resolver(Dns(servers=(f"127.0.0.1:{server.port}",)))
        for _ in range(2):
            assert await resolver.txt("a.test") == await resolver.txt("b.test") == []
        assert server.asked == ["udp TXT a.test", "udp TXT b.test"]
        server.records |= {"a.test": {"TXT": ["new"]}, "b.test": {"TXT": ["newer"]}}
        clock.now = 61.0
        assert (await resolver.txt("a.test"), await resolver.txt("b.test")) == (["new"], ["newer"])


async def test_only_so_many_answers_are_kept() -> None:
    """Who names ten thousand domains does not fill the memory; what is not kept is asked again."""
    records = {f"d{number}.test": {"TXT": ["x"]} for number in range(150)}
    async with served(records) as server:
        resolver = Resolver(Dns(servers=(f"127.0.0.1:{server.port}",), cached=100))
        for number in range(150):
            assert await resolver.txt(f"d{number}.test") == ["x"]
        assert len(resolver._answers) == 100
        assert await resolver.txt("d0.test") == ["x"]
        assert (server.asked.count("udp TXT d0.test"), server.asked.count("udp TXT d149.test")) == (2, 1)
