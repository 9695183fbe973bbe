"""One multiline message: as a batch for those who know it, as single lines for all others (IRCv3 multiline)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridges.irc.demo.message import Message

if TYPE_CHECKING:
    from bridges.irc.demo.client import Client
    from bridges.irc.demo.world import World

CONCAT = "draft/multiline-concat"


@dataclass(frozen=True, slots=True)
class Speech:
    """A message of several lines; ``parts`` are the texts, and whether each continues the one before."""

    source: str
    command: str
    target: str
    parts: tuple[tuple[str, bool], ...]
    time: str
    msgid: str
    account: str
    client_tags: str

    def batched(self, world: World, within: str = "") -> list[Message]:
        """Give the lines of a draft/multiline batch; id, account and client tags are on its opening."""
        opening, closing = world.batch("draft/multiline", self.target, within=within)
        opening.body = f":{self.source} {opening.body.partition(' ')[2]}"
        opening.time, opening.msgid = self.time, self.msgid
        opening.account, opening.client_tags = self.account, self.client_tags
        limit = world.options.line_length
        lines = [
            Message(
                f":{self.source} {self.command} {self.target} :{text}",
                limit=limit,
                batch=opening.opens,
                fixed=CONCAT if joined else "",
            )
            for text, joined in self.parts
        ]
        return [opening, *lines, closing]

    def plain(self, world: World) -> list[Message]:
        """Give the lines for who does not know multiline: no blank ones, the id on the first only."""
        limit = world.options.line_length
        lines: list[Message] = []
        for text, _ in self.parts:
            if text:
                first = not lines
                lines.append(
                    Message(
                        f":{self.source} {self.command} {self.target} :{text}",
                        limit=limit,
                        time=self.time,
                        account=self.account,
                        msgid=self.msgid if first else "",
                        client_tags=self.client_tags if first else "",
                    )
                )
        return lines


def knows(client: Client) -> bool:
    """Say whether a client can read a multiline batch."""
    return {"batch", "draft/multiline"} <= client.caps
