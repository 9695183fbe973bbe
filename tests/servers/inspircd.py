"""InspIRCd 3: the IRC server with nearly every IRCv3 capability (all but chathistory)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess
from bridges.irc.demo.servers import inspircd_command, inspircd_config
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
    configuration lines, `opers` maps names to passwords; all may be changed before a restart. With `use_ident`
    (and the module "ident") it asks the ident server of each client, with `use_connectban` (and "connectban") it
    throttles, with `asks_for_certificates` TLS clients may show one, whoever signed it.
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
        self.use_ident = False
        self.use_connectban = False
        self.asks_for_certificates = False
        self.certificate = make_certificate(directory)
        self.log_file = directory / "ircd.log"

    async def start(self) -> None:
        """Starts with the configuration as it is now; see Server.start."""
        if self._process is not None:
            self._write()
        await super().start()

    def _prepare(self) -> ChildProcess:
        self._write()
        command = inspircd_command(find_command("inspircd", "inspircd"), self._config_file)
        return ChildProcess(command, log=self.directory / "output.log", directory=self.directory)

    @property
    def _config_file(self) -> Path:
        return self.directory / "inspircd.conf"

    def _write(self) -> None:
        for folder in ("data", "run"):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        names = [name for name in _MODULES.split() + self.modules if name not in self.without]
        lines: list[str] = []
        if "ssl_gnutls" in names:
            asked = "yes" if self.asks_for_certificates else "no"
            lines.append(
                f'<bind address="{self.host}" port="{self.tls_port}" type="clients" sslprofile="Clients">'
                f'<sslprofile name="Clients" provider="gnutls" certfile="{self.certificate.chain}" '
                f'keyfile="{self.certificate.key}" hash="sha256" requestclientcert="{asked}">'
            )
        if "cgiirc" in names:
            lines.append(f'<cgihost type="webirc" mask="{self.host}" password="{self.webirc_password}">')
        if "chanhistory" in names:
            lines.append('<chanhistory maxlines="100" prefixmsg="no" bots="yes" enableumode="yes">')
        lines += [
            f'<oper name="{name}" password="{password}" host="*@*" type="NetAdmin">'
            for name, password in self.opers.items()
        ]
        basics = inspircd_config(self.directory, self.port, modules=names, name=self.name, network="testNet")
        if self.use_ident:
            basics = basics.replace('useident="no"', 'useident="yes"')
        if self.use_connectban:
            basics = basics.replace('useconnectban="no"', 'useconnectban="yes"')
        self._config_file.write_text("\n".join([basics, *lines, self.config, ""]))
