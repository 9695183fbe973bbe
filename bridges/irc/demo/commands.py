"""The table of commands the demo server understands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bridges.irc.demo import (
    batches,
    channels,
    chathistory,
    isupport,
    messages,
    metadata,
    modes,
    monitor,
    queries,
    redaction,
    registration,
    relaymsg,
    rename,
    sasl,
    webirc,
)
from bridges.irc.demo.world import Handler

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "AUTHENTICATE": sasl.authenticate,
        "AWAY": queries.away,
        "BATCH": batches.batch,
        "CAP": registration.cap,
        "CHATHISTORY": chathistory.chathistory,
        "INVITE": channels.invite,
        "ISON": queries.ison,
        "ISUPPORT": isupport.isupport,
        "JOIN": channels.join,
        "KICK": channels.kick,
        "KNOCK": channels.knock,
        "LIST": channels.list_,
        "LUSERS": queries.lusers,
        "METADATA": metadata.metadata,
        "MODE": modes.mode,
        "MONITOR": monitor.monitor,
        "MOTD": queries.motd,
        "NAMES": channels.names,
        "NICK": registration.nick,
        "NOTICE": messages.notice,
        "PART": channels.part,
        "PASS": registration.password,
        "PING": registration.ping,
        "PONG": registration.pong,
        "PRIVMSG": messages.privmsg,
        "QUIT": registration.quit_,
        "REDACT": redaction.redact,
        "RELAYMSG": relaymsg.relaymsg,
        "RENAME": rename.rename,
        "SETNAME": queries.setname,
        "TAGMSG": messages.tagmsg,
        "TOPIC": channels.topic,
        "USER": registration.user,
        "USERHOST": queries.userhost,
        "VERSION": queries.version,
        "WEBIRC": webirc.webirc,
        "WHO": queries.who,
        "WHOIS": queries.whois,
    }
)
