"""Atheme: the services of an IRC network (accounts, SASL, channels), linked to an InspIRCd of ours."""

from pathlib import Path

from bridge_core.demo.ports import free_port
from bridge_core.demo.process import ChildProcess
from tests.servers.inspircd import InspIRCd
from tests.servers.server import find_command

__all__ = ["Atheme"]

NAME = "services.test"
_PASSWORD = "linkpw"
_MODULES = (
    "protocol/inspircd backend/opensex crypto/pbkdf2v2 nickserv/main nickserv/register nickserv/identify nickserv/info "
    "nickserv/cert chanserv/main chanserv/register chanserv/flags chanserv/op chanserv/info chanserv/akick "
    "chanserv/ban operserv/main operserv/akill saslserv/main saslserv/plain saslserv/external"
)
_SERVICES = {"nickserv": "NickServ", "chanserv": "ChanServ", "saslserv": "SaslServ", "operserv": "OperServ"}


class Atheme:
    """Services of the InspIRCd that `irc_server` makes; start that first. `opers`: accounts that may do everything."""

    modules = ("spanningtree", "sasl", "globalload")

    def __init__(self, directory: Path, *, opers: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self.link_port = free_port()
        self.opers = opers
        self.log_file = directory / "atheme.log"
        self._process: ChildProcess | None = None

    def irc_server(self, directory: Path) -> InspIRCd:
        """An InspIRCd to link to, not started."""
        link = (
            f'<bind address="127.0.0.1" port="{self.link_port}" type="servers">'
            f'<link name="{NAME}" ipaddr="127.0.0.1" port="{self.link_port}" allowmask="127.0.0.1/32" '
            f'sendpass="{_PASSWORD}" recvpass="{_PASSWORD}">'
            f'<uline server="{NAME}" silent="yes"><sasl target="{NAME}">'
        )
        return InspIRCd(directory, modules=self.modules, config=link)

    async def start(self) -> None:
        """Starts the services; they link within seconds. Raises ProcessDiedError, MissingServerError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "atheme.conf"
        config.write_text(self._config())
        command = [find_command("atheme-services", "atheme-services"), "-n", "-c", str(config)]
        command += ["-D", str(self.directory), "-p", str(self.directory / "atheme.pid"), "-l", str(self.log_file)]
        self._process = ChildProcess(command, log=self.directory / "output.log", directory=self.directory)

        async def linked() -> bool:
            return "synchronized" in self._said() or "finished synching" in self._said()

        await self._process.start(linked, timeout=60)

    def _said(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.directory.glob("*.log"))

    def kill(self) -> None:
        """Ends them with SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def _config(self) -> str:
        modules = "\n".join(f'loadmodule "modules/{name}";' for name in _MODULES.split())
        services = "\n".join(
            f'{section} {{ nick = "{nick}"; user = "{section}"; host = "{NAME}"; real = "{nick}"; }};'
            for section, nick in _SERVICES.items()
        )
        opers = "\n".join(f'operator "{name}" {{ operclass = "all"; }};' for name in self.opers)
        return f"""\
{modules}
serverinfo {{
    name = "{NAME}"; desc = "services"; numeric = "00A"; recontime = 1; netname = "testNet"; hidehostsuffix = "u.test";
    adminname = "nobody"; adminemail = "nobody@x.test"; registeremail = "nobody@x.test"; auth = none;
    loglevel = {{ all; }}; maxlogins = 1000; maxusers = 0; maxnicks = 100; maxchans = 100; mdlimit = 0; emaillimit = 10;
    emailtime = 60;
}};
uplink "irc.test" {{
    host = "127.0.0.1"; port = {self.link_port}; send_password = "{_PASSWORD}"; receive_password = "{_PASSWORD}";
}};
{services}
operclass "all" {{ privs = {{ general:admin; operserv:akill; operserv:massakill; }}; }};
{opers}
general {{
    flood_msgs = 0; ratelimit_uses = 0; ratelimit_period = 0; commit_interval = 5; default_clone_allowed = 1000;
    default_clone_warn = 1000; uflags = {{ hidemail; }}; cflags = {{ verbose; }};
}};
"""
