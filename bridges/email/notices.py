"""What a mailbox says itself in its rooms: what became of something that somebody did there."""

from bridge_core.api.content import Content, Kind, Plain
from bridge_core.api.events import RemoteMessage, RemoteSender
from bridge_core.api.ids import ChatId, MessageId, RemoteUserId
from bridge_core.api.network import Inbox
from bridges.email.chats import ChatKind, parse_chat
from bridges.email.mailboxes import Mailbox
from bridges.email.threads import Thread


class Notices:
    """Says it, as the mailbox's own ghost."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def say(self, mailbox: Mailbox, chat: ChatId, key: str, text: str, thread: Thread | None = None) -> None:
        """Return when it is stored, in the conversation's thread if it has one. The same `key` again says nothing."""
        in_thread = thread is not None and parse_chat(thread.chat).kind is not ChatKind.THREAD
        said = RemoteMessage(
            chat,
            RemoteSender(RemoteUserId(mailbox.key), mailbox.name or str(mailbox.address)),
            Content((Plain(text),), Kind.NOTICE),
            MessageId(f"notice {key}"),
            thread=thread.root if thread is not None and in_thread else None,
            receiver=mailbox.login,
        )
        await self._inbox.receive([said])
