"""One odd mail: what is odd about it, its bytes, what is looked at, and what must be found there."""

from collections.abc import Callable
from dataclasses import dataclass

from bridge_core.content import to_plain
from bridges.email.mail import Mail


@dataclass(frozen=True)
class Case:
    """`look` is applied to the mail that is read, and must give `want`."""

    odd: str
    data: bytes
    look: Callable[[Mail], object]
    want: object


def text(mail: Mail) -> str:
    """What is shown of it, in plain words."""
    return to_plain(mail.text)


def files(mail: Mail) -> list[tuple[str, str]]:
    """Names and types of its files."""
    return [(file.name, file.mime) for file in mail.files]


def names(mail: Mail) -> list[str]:
    """The names of its files."""
    return [file.name for file in mail.files]


def authors(mail: Mail) -> list[tuple[str, str]]:
    """Names and addresses of From."""
    return [(one.name, str(one)) for one in mail.authors]


def to(mail: Mail) -> list[str]:
    """The addresses of To."""
    return [str(one) for one in mail.to]


def subject(mail: Mail) -> str:
    """Its subject."""
    return mail.subject
