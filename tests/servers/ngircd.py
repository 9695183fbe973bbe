"""ngIRCd: the plain IRC server; its only capability is multi-prefix."""

from collections.abc import Mapping
from pathlib import Path

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess
from bridges.irc.demo.servers import ngircd_config
from tests.servers.certificate import make_certificate
from tests.servers.server import Server, find_command

__all__ = ["NgIRCd"]


class NgIRCd(Server):
    """`port` speaks plain text, `tls_port` TLS with `certificate`. No throttle, no lookups.

    Started by root it drops to the `irc` user that its package makes. `config` adds raw lines at the end,
    `opers` maps names to passwords; both may be changed before a restart.
    """

    name = "ng.test"

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        opers: Mapping[str, str] | None = None,
        webirc_password: str = "webircpw",
    ) -> None:
        super().__init__(directory, free_port())
        self.tls_port = free_port()
        self.config = config
        self.opers = dict(opers if opers is not None else {"op": "oppw"})
        self.webirc_password = webirc_password
        self.per_address = 0
        """Connections that one address may have; 0: as many as it likes."""
        self.certificate = make_certificate(directory)
        self.log_file = directory / "output.log"

    async def start(self) -> None:
        """Starts with the configuration as it is now; see Server.start."""
        if self._process is not None:
            self._write()
        await super().start()

    def _prepare(self) -> ChildProcess:
        self._write()
        command = [find_command("ngircd", "ngircd"), "-n", "-f", str(self.directory / "ngircd.conf")]
        return ChildProcess(command, log=self.log_file, directory=self.directory)

    def _write(self) -> None:
        opers = "".join(f"[Operator]\nName = {name}\nPassword = {password}\n" for name, password in self.opers.items())
        tls = f"""[SSL]
CertFile = {self.certificate.chain}
KeyFile = {self.certificate.key}
Ports = {self.tls_port}
"""
        options = f"WebircPassword = {self.webirc_password}\nCloakHost = cloaked"
        config = ngircd_config(self.port, name=self.name, options=options, tail=f"{tls}{opers}{self.config}")
        config = config.replace("MaxConnectionsIP = 0", f"MaxConnectionsIP = {self.per_address}")
        (self.directory / "ngircd.conf").write_text(config)
