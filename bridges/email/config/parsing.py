"""How mails are read."""

from pydantic import Field

from bridges.email.config.section import Section


class Parsing(Section):
    """How mails are read: in processes of their own, each limited in time and memory."""

    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="How many mails are read at once. Each is a process of about 40 MiB that is started with the "
        "first mail.",
    )
    cpu_seconds: int = Field(
        2,
        ge=1,
        le=60,
        description="Processor time that one mail may cost, and a second more for each 10 MiB of it. Mails that need"
        " more are tried once again, then put into quarantine.",
    )
    memory_mib: int = Field(
        768,
        ge=256,
        le=16384,
        description="Memory that one process may use. A mail needs about four times its size.",
    )
    wait_seconds: float = Field(
        60,
        ge=5,
        le=600,
        description="How long the bridge waits for a process that does nothing before it ends it.",
    )
    mails_per_worker: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="After so many mails a process is replaced by a new one.",
    )
    largest_mib: int = Field(
        64,
        ge=1,
        le=512,
        description="Mails larger than this are put into quarantine unread. No lower than the largest mail that is "
        "accepted.",
    )
    depth: int = Field(
        30,
        ge=5,
        le=50,
        description="How deep parts of mails may be nested in one another; what is deeper becomes a file.",
    )
    parts: int = Field(1000, ge=10, le=10_000, description="How many parts of a mail are read.")
    files: int = Field(200, ge=1, le=1000, description="How many files of a mail are taken over.")
    text_characters: int = Field(
        200_000,
        ge=1000,
        le=1_000_000,
        description="How much plain text of a mail is shown; the whole of a longer one is a file.",
    )
    html_characters: int = Field(
        1_048_576,
        ge=10_000,
        le=4_194_304,
        description="How much HTML of a mail is read; the whole of a longer one is a file.",
    )
    html_parts: int = Field(
        20_000,
        ge=1000,
        le=100_000,
        description="How many tags and pieces of text of a mail's HTML are read.",
    )
    trim: bool = Field(
        True,
        description="Whether quotes and signatures are left out of what is shown. The whole is kept all the same.",
    )
