"""Values as administrators write them: durations, sizes, addresses to listen on, secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg])?i?b?", re.IGNORECASE)
_UNITS = {"g": 1024**3, "m": 1024**2, "k": 1024}
_PORTS = range(65536)
# Words of placeholders; a generated secret is hexadecimal and holds none of them.
_PLACEHOLDER = re.compile(
    r"(?i)change[ _-]?(me|this)|replace|example|placeholder|your[ _-]|generate|secret|password|xxx"
)
_MIN_SECRET = 32


@dataclass(frozen=True, slots=True)
class Words:
    """How a value is written, for messages and the reference; it sits in a type's metadata."""

    text: str


def parse_duration(value: Any) -> Any:
    """Seconds of `90`, `90s`, `1.5h`, `7d`, `250ms`; anything else raises `ValueError`."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match:
            return float(match[1]) * _SECONDS[match[2]]
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a duration") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a duration")
    return value


def format_duration(seconds: float) -> str:
    """The shortest exact way to write a duration: 604800 -> `7d`."""
    for unit, length in _SECONDS.items():
        if seconds and (seconds / length).is_integer():
            return f"{int(seconds / length)}{unit}"
    return f"{seconds:g}s"


def parse_size(value: Any) -> Any:
    """Bytes of `1000`, `64 KiB`, `16M`; units are powers of 1024; anything else raises `ValueError`."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a size")
        return int(float(match[1]) * _UNITS.get((match[2] or "").lower(), 1))
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a size")
    return value


def format_size(size: int) -> str:
    """The shortest exact way to write a size: 65536 -> `64 KiB`."""
    for unit, length in _UNITS.items():
        if size and size % length == 0:
            return f"{size // length} {unit.upper() if unit != 'k' else 'K'}iB"
    return str(size)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on: a TCP host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(value: Any) -> Any:
    """The address behind `127.0.0.1:29310`, `[::1]:29310` or `unix:/run/bridge.sock`."""
    if isinstance(value, Listen):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address to listen on")
    if value.startswith("unix:") and len(value) > len("unix:"):
        return Listen(path=value.removeprefix("unix:"))
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):(\d{1,5})", value)
    if match is None or int(match[3]) not in _PORTS:
        raise ValueError(f"{value!r} is not an address to listen on")
    return Listen(host=match[1] or match[2], port=int(match[3]))


def placeholder(value: str) -> bool:
    """Whether a secret was left as an example has it."""
    return bool(_PLACEHOLDER.search(value)) or len(set(value)) < 8


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise ValueError("is empty")
    if len(text) < _MIN_SECRET:
        raise ValueError(f"is shorter than {_MIN_SECRET} characters (make one with: openssl rand -hex 32)")
    if placeholder(text):
        raise ValueError("is still the example's placeholder")
    return value


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError(f"{value!r} is not an http:// or https:// address")
    return value.rstrip("/")


def _server_name(value: str) -> str:
    # Matrix appendices 4.1: a DNS name, IPv4 or bracketed IPv6 address, and an optional port.
    if not re.fullmatch(r"([A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?", value):
        raise ValueError(f"{value!r} is not a server name")
    return value


Duration = Annotated[float, BeforeValidator(parse_duration), Words("a duration such as 30s, 5m, 2h, 7d")]
Size = Annotated[int, BeforeValidator(parse_size), Words("a size such as 512 KiB, 50 MiB, or bytes")]
ListenOn = Annotated[Listen, BeforeValidator(parse_listen), Words("host:port, [ipv6]:port, or unix:/path/of/socket")]
Secret = Annotated[SecretStr, AfterValidator(_secret), Words(f"a random text of at least {_MIN_SECRET} characters")]
HttpUrl = Annotated[str, AfterValidator(_url), Words("an http:// or https:// address")]
ServerName = Annotated[str, AfterValidator(_server_name), Words("a server name such as example.org")]
