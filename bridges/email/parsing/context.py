"""What a parser is told beside the bytes of a mail."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a mail before it is read, and how much of it is read. Sizes are characters or bytes."""

    received_at: int | None = None
    """When we got it, in milliseconds since 1970: no Date is later."""
    given: str = ""
    """The envelope's id, where a mail without a Message-ID is a mail of its own each time that it is given."""
    null_sender: bool = False
    """Its envelope had the null reverse-path: a program sent it."""
    domains: tuple[str, ...] = ()
    """Our own domains: tokens in addresses at them are taken out of texts."""
    links: tuple[str, ...] = ()
    """How our own links begin whose owner only may use them: such are taken out of texts."""
    depth: int = 30
    parts: int = 1000
    files: int = 200
    addresses: int = 500
    text: int = 200_000
    """Characters of text; the whole of a longer one is a file."""
    html: int = 1_048_576
    nodes: int = 20_000
    """Tags and pieces of text of the HTML of one mail."""
    trim: bool = True
    """Whether quotes and signatures are left out of `Mail.text`."""
