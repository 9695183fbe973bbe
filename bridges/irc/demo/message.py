"""One line the server says, rendered once per variant of tags and not once per recipient."""

from __future__ import annotations

from bridges.irc.demo.wire import escape_tag

TIME = 1
TAGS = 2
ACCOUNT = 4
RELAYED = 8

#: Capabilities that change how a line looks, with their bit in the render mask.
TAG_BITS: tuple[tuple[str, int], ...] = (
    ("server-time", TIME),
    ("message-tags", TAGS),
    ("account-tag", ACCOUNT),
    ("draft/relaymsg", RELAYED),
)


class Message:
    """A line on its way to any number of clients.

    ``body`` is latin-1 text from the source on, cut to the line limit; the tags are added per variant. ``batch`` is
    the batch it lies in and ``fixed`` are further tags: every recipient gets both. ``opens`` names the batch that the
    line opens, ``relayed_by`` who used RELAYMSG.
    """

    __slots__ = ("_cache", "account", "batch", "body", "client_tags", "fixed", "msgid", "opens", "relayed_by", "time")

    def __init__(
        self,
        body: str,
        *,
        limit: int = 1 << 16,
        time: str = "",
        msgid: str = "",
        account: str = "",
        client_tags: str = "",
        batch: str = "",
        fixed: str = "",
        opens: str = "",
        relayed_by: str = "",
    ) -> None:
        self.body = body if len(body) <= limit - 2 else body[: limit - 2]
        self.time = time
        self.msgid = msgid
        self.account = account
        self.client_tags = client_tags
        self.batch = batch
        self.fixed = fixed
        self.opens = opens
        self.relayed_by = relayed_by
        self._cache: dict[int, bytes] = {}

    def inside(self, batch: str) -> Message:
        """Give the same line as a part of a batch."""
        return Message(
            self.body,
            time=self.time,
            msgid=self.msgid,
            account=self.account,
            client_tags=self.client_tags,
            batch=batch,
            fixed=self.fixed,
            opens=self.opens,
            relayed_by=self.relayed_by,
        )

    def render(self, mask: int) -> bytes:
        """Give the bytes for recipients whose capabilities are ``mask``; the same object every time."""
        data = self._cache.get(mask)
        if data is None:
            data = self._cache[mask] = self.render_with(mask, "")
        return data

    def render_with(self, mask: int, extra: str) -> bytes:
        """Give the bytes with one more tag (``label=...`` or ``batch=...``) in front; not cached."""
        tags = [extra] if extra else []
        if self.batch:
            tags.append("batch=" + self.batch)
        if self.fixed:
            tags.append(self.fixed)
        if mask & TIME and self.time:
            tags.append("time=" + self.time)
        if mask & ACCOUNT and self.account:
            tags.append("account=" + escape_tag(self.account))
        if mask & RELAYED and self.relayed_by:
            tags.append("draft/relaymsg=" + escape_tag(self.relayed_by))
        if mask & TAGS:
            if self.msgid:
                tags.append("msgid=" + self.msgid)
            if self.client_tags:
                tags.append(self.client_tags)
        if tags:
            return f"@{';'.join(tags)} {self.body}\r\n".encode("latin-1")
        return (self.body + "\r\n").encode("latin-1")
