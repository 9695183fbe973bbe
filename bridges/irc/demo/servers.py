"""The IRC servers a demonstration can run on: InspIRCd or ngIRCd where installed, otherwise the one of this folder.

Each is a command and a configuration for loopback: no throttle, no look-ups, no TLS, everything in one folder.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HOST = "127.0.0.1"
CHOICES: tuple[str, ...] = ("inspircd", "ngircd", "demo")
"""From the most to the least capable."""

_INSPIRCD_MODULES = (
    "cap ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags ircv3_echomessage "
    "ircv3_invitenotify ircv3_labeledresponse ircv3_msgid ircv3_servertime setname"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A server that can be started: what it calls itself, and its command."""

    version: str
    command: tuple[str, ...]


def find(name: str) -> str | None:
    """A server's command, also from where Debian keeps servers; None when it is not installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin:/usr/local/bin")


def installed() -> list[str]:
    """The choices that can be run on this machine, the best first."""
    return [name for name in CHOICES if name == "demo" or find(name) is not None]


def prepare(name: str, directory: Path, port: int) -> Prepared:
    """Write a server's configuration into `directory`. Raises ValueError for a server that is not installed. Blocks."""
    if name == "demo":
        module = ("-m", "bridges.irc.demo.server", "--port", str(port))
        return Prepared(f"DemoIrcServer {version('matrix-bridge-core')}", (sys.executable, *module))
    found = find(name)
    if found is None:
        raise ValueError(f"{name} is not installed: apt-get install {name}")
    config = directory / f"{name}.conf"
    if name == "inspircd":
        for folder in ("data", "run"):
            (directory / folder).mkdir(exist_ok=True)
        config.write_text(inspircd_config(directory, port, modules=_INSPIRCD_MODULES.split()))
        return Prepared(_version(found, "InspIRCd"), (*inspircd_command(found, config),))
    config.write_text(ngircd_config(port))
    return Prepared(_version(found, "ngIRCd"), (found, "-n", "-f", str(config)))


def inspircd_command(found: str, config: Path) -> list[str]:
    """The command that runs InspIRCd in the foreground; it refuses to run as root unless told to."""
    return [found, "--config", str(config), "--nofork", *(["--runasroot"] if os.geteuid() == 0 else [])]


def inspircd_config(
    directory: Path, port: int, *, modules: Sequence[str], name: str = "irc.demo", network: str = "DemoNet"
) -> str:
    """Configuration of InspIRCd 3 and 4 (`allow` is called `mask` there). It wants folders `data` and `run`."""
    lines = [f'<module name="{module}">' for module in modules]
    return "\n".join(
        [
            f"""\
<server name="{name}" description="loopback" network="{network}" id="1TS">
<admin name="nobody" nick="nobody" email="nobody@{name}">
<bind address="{HOST}" port="{port}" type="clients">
<connect name="main" allow="*" mask="*" maxchans="1000" timeout="30" pingfreq="120" localmax="5000" globalmax="5000"
  maxconnwarn="off" hardsendq="10M" softsendq="2M" recvq="256K" threshold="100000" commandrate="1000000"
  fakelag="off" resolvehostnames="no" useident="no" useconnectban="no" useconnflood="no">
<class name="All" commands="*" privs="*" usermodes="*" chanmodes="*" snomasks="*">
<type name="NetAdmin" classes="All" vhost="netadmin.{name}">
<performance softlimit="4096" somaxconn="128" quietbursts="yes" nouserdns="yes" limitsomaxconn="true">
<dns timeout="1" server="{HOST}">
<options prefixquit="Quit: " hostintopic="yes" defaultmodes="not" splitwhois="no">
<limits maxnick="31" maxchan="64" maxmodes="20" maxident="12" maxhost="64" maxquit="255" maxtopic="390"
  maxkick="300" maxreal="130" maxaway="200" maxline="512">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{directory}/ircd.log">
<path configdir="{directory}" datadir="{directory}/data" logdir="{directory}" runtimedir="{directory}/run">
<pid file="{directory}/run/inspircd.pid">""",
            *lines,
            "",
        ]
    )


def ngircd_config(port: int, *, name: str = "irc.demo", options: str = "", tail: str = "") -> str:
    """Configuration of ngIRCd; `options` are more lines of its section Options, `tail` more sections."""
    return f"""\
[Global]
Name = {name}
Info = loopback
AdminInfo1 = loopback
AdminEMail = nobody@{name}
Listen = {HOST}
Ports = {port}
ServerUID = irc
ServerGID = irc
MotdPhrase = hello
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 30
PingTimeout = 120
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
IncludeDir = /nonexistent/no-more-files
{options}
{tail}
"""


def _version(command: str, name: str) -> str:
    """Name and version, as the server's `--version` says it; the name alone when it says nothing of use."""
    try:
        said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return name
    found = re.search(rf"{name}[- ]v?([0-9][\w.]*)", said)
    return f"{name} {found[1]}" if found else name
