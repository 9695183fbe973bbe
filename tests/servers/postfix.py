"""Postfix: the mail server that most of the world's mail comes through; here as sender and as smarthost."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess
from tests.servers.server import MissingServerError, Server, find_command

__all__ = ["Postfix"]

_MAIN = """\
compatibility_level = 3.6
queue_directory = {place}/spool
data_directory = {place}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = mail.test
mydestination =
relay_domains = {domains}
transport_maps = inline:{{ {routes} }}
default_transport = {default}
alias_maps =
local_recipient_maps =
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
disable_dns_lookups = yes
smtp_host_lookup = native
queue_run_delay = 1s
minimal_backoff_time = 2s
maximal_backoff_time = 2s
lmtp_destination_recipient_limit = 50
message_size_limit = 104857600
maillog_file = {place}/spool/postfix.log
maillog_file_prefixes = {place}
"""
# A mail that is tried again while who tried it before still has it locked goes back to "incoming" for a minute. Postfix
# looks there when a mail comes, and when qmgr is woken: by default every 300 s, which is no matter where tries are
# minutes apart. Times of backoff are whole seconds: of a single one, some milliseconds may be left.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Server):
    """Takes mail from loopback on `port`, for whatever domain, and brings it where `routes` say.

    `routes` map domains to transports, such as "smtp:[127.0.0.1]:2525" or "lmtp:unix:/path"; other domains go to
    `default`. Deferred mail is tried again after two seconds. `settings` are further lines of main.cf. Needs root, as
    Postfix does; its queue is a folder of its own that the user postfix can reach, removed by `close`.
    """

    def __init__(
        self, directory: Path, routes: Mapping[str, str], *, default: str = "error:nowhere", settings: str = ""
    ) -> None:
        super().__init__(directory, free_port())
        self.routes = dict(routes)
        self.default = default
        self.settings = settings
        self.place = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.log_file = self.place / "spool" / "postfix.log"

    async def waiting(self) -> int:
        """How many mails are in its queue."""
        return len((await self.queue()).splitlines())

    async def queue(self) -> str:
        """What is in its queue: a line of JSON for each mail."""
        return await self._command("postqueue", "-j")

    def bounced(self) -> list[str]:
        """Lines of its log about mails that were refused for good."""
        return [line for line in self.log_file.read_text().splitlines() if "status=bounced" in line]

    async def flush(self) -> None:
        """Try all that waits, now."""
        await self._command("postqueue", "-f")

    async def close(self) -> None:
        """Stop, and remove the queue."""
        await self.stop()
        # Its master has a session of its own, and may wait for a process of it for half an hour.
        with contextlib.suppress(OSError, ValueError):
            master = int((self.place / "spool" / "pid" / "master.pid").read_text())
            if b"postfix" in Path(f"/proc/{master}/cmdline").read_bytes():
                os.killpg(master, signal.SIGKILL)
        shutil.rmtree(self.place, ignore_errors=True)

    async def _command(self, name: str, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            find_command(name, "postfix"), "-c", str(self.place / "etc"), *arguments, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(30):
            output, _ = await process.communicate()
        return output.decode()

    def _prepare(self) -> ChildProcess:
        if os.getuid() != 0:
            raise MissingServerError("Postfix can only be started by root")
        command = find_command("postfix", "postfix")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.place.chmod(0o755)
        for name in ("etc", "spool", "data"):
            (self.place / name).mkdir(exist_ok=True)
        shutil.chown(self.place / "data", "postfix")
        main = _MAIN.format(
            place=self.place,
            domains=", ".join(self.routes),
            routes=", ".join(f"{{ {domain} = {transport} }}" for domain, transport in self.routes.items()),
            default=self.default,
        )
        (self.place / "etc" / "main.cf").write_text(main + self.settings + "\n")
        (self.place / "etc" / "master.cf").write_text(_MASTER.format(port=self.port))
        return ChildProcess(
            [command, "-c", str(self.place / "etc"), "start-fg"],
            log=self.directory / "postfix.log",
            directory=self.directory,
        )
