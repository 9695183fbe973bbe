"""InspIRCd 3: the IRC server with nearly every IRCv3 capability (all but chathistory)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge_core.demo.process import ChildProcess, free_port
from tests.servers.certificate import make_certificate
from tests.servers.server import Server, find_command

__all__ = ["InspIRCd"]

_MODULES = (
    "botmode cap cgiirc chanhistory deaf hidechans ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost "
    "ircv3_ctctags ircv3_echomessage ircv3_invitenotify ircv3_labeledresponse ircv3_msgid ircv3_servertime monitor "
    "namesx permchannels sajoin sanick services_account servprotect setname showwhois ssl_gnutls sslinfo starttls "
    "uhnames userip"
)


class InspIRCd(Server):
    """`port` speaks plain text, `tls_port` TLS with `certificate`. No throttle, no lookups.

    `without` leaves modules out (such as "ircv3_echomessage"), `modules` adds some, `config` adds raw
    configuration lines, `opers` maps names to passwords; all may be changed before a restart.
    Registering a client takes the server up to a second (its timer's tick).
    """

    name = "irc.test"

    def __init__(
        self,
        directory: Path,
        *,
        modules: Sequence[str] = (),
        without: Sequence[str] = (),
        config: str = "",
        opers: Mapping[str, str] | None = None,
        webirc_password: str = "webircpw",
    ) -> None:
        super().__init__(directory, free_port())
        self.tls_port = free_port()
        self.modules = list(modules)
        self.without = list(without)
        self.config = config
        self.opers = dict(opers if opers is not None else {"op": "oppw"})
        self.webirc_password = webirc_password
        self.certificate = make_certificate(directory)
        self.log_file = directory / "ircd.log"

    async def start(self) -> None:
        """Starts with the configuration as it is now; see Server.start."""
        if self._process is not None:
            self._write()
        await super().start()

    def _prepare(self) -> ChildProcess:
        self._write()
        command = [find_command("inspircd", "inspircd"), "--config", str(self._config_file), "--nofork"]
        if os.geteuid() == 0:
            command.append("--runasroot")
        return ChildProcess(command, log=self.directory / "output.log", directory=self.directory)

    @property
    def _config_file(self) -> Path:
        return self.directory / "inspircd.conf"

    def _write(self) -> None:
        for folder in ("data", "run"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        names = [name for name in _MODULES.split() + self.modules if name not in self.without]
        lines = [f'<module name="{name}">' for name in names]
        if "ssl_gnutls" in names:
            lines.append(
                f'<bind address="{self.host}" port="{self.tls_port}" type="clients" sslprofile="Clients">'
                f'<sslprofile name="Clients" provider="gnutls" certfile="{self.certificate.chain}" '
                f'keyfile="{self.certificate.key}" hash="sha256" requestclientcert="no">'
            )
        if "cgiirc" in names:
            lines.append(f'<cgihost type="webirc" mask="{self.host}" password="{self.webirc_password}">')
        if "chanhistory" in names:
            lines.append('<chanhistory maxlines="100" prefixmsg="no" bots="yes" enableumode="yes">')
        lines += [
            f'<oper name="{name}" password="{password}" host="*@*" type="NetAdmin">'
            for name, password in self.opers.items()
        ]
        self._config_file.write_text("\n".join([self._basics(), *lines, self.config, ""]))

    def _basics(self) -> str:
        here = self.directory
        return f"""\
<server name="{self.name}" description="test" network="testNet" id="1TS">
<admin name="test" nick="test" email="a@irc.test">
<bind address="{self.host}" port="{self.port}" type="clients">
<connect name="main" allow="*" maxchans="1000" timeout="30" pingfreq="120" localmax="5000" globalmax="5000"
  maxconnwarn="off" hardsendq="10M" softsendq="2M" recvq="256K" threshold="100000" commandrate="1000000"
  fakelag="off" resolvehostnames="no" useident="no" useconnectban="no" useconnflood="no">
<class name="All" commands="*" privs="*" usermodes="*" chanmodes="*" snomasks="*">
<type name="NetAdmin" classes="All" vhost="netadmin.irc.test">
<performance softlimit="4096" somaxconn="128" quietbursts="yes" nouserdns="yes" limitsomaxconn="true">
<dns timeout="1" server="127.0.0.1">
<options prefixquit="Quit: " hostintopic="yes" defaultmodes="nt" splitwhois="no">
<limits maxnick="31" maxchan="64" maxmodes="20" maxident="12" maxhost="64" maxquit="255" maxtopic="390"
  maxkick="300" maxreal="130" maxaway="200" maxline="512">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{here}/ircd.log">
<path configdir="{here}" datadir="{here}/data" logdir="{here}" runtimedir="{here}/run">
<pid file="{here}/run/inspircd.pid">"""
