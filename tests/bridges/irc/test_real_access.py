"""Addresses, ident, WEBIRC and STS on real servers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge_core.api.network import LoginStatus
from tests.bridges.irc.rig import Rig, StartRig, eventually
from tests.servers.inspircd import InspIRCd
from tests.servers.ngircd import NgIRCd

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.server
_CAP_SYS_ADMIN = 21
"""Its bit among a process's capabilities, see capabilities(7)."""


async def whois(rig: Rig, nick: str) -> dict[str, tuple[str, ...]]:
    """What a server operator reads of somebody, by numeric."""
    witness = rig.witnesses[0] if rig.witnesses else await rig.witness("eve")
    witness.raw("OPER op oppw")
    await witness.sync()
    since = witness.mark()
    witness.raw(f"WHOIS {nick}")
    await witness.wait_for(lambda line: line.command == "318", since=since)
    return {line.command: line.params for line in witness.lines[since:]}


def _own_network() -> list[str]:
    """The command that runs another in a network of its own.

    Where none can be made that is a failure on a machine whose kernel lets us, and else nothing that a test can mend.
    """
    root = os.geteuid() == 0
    enter = ["unshare", "--net", *([] if root else ["--user", "--map-root-user"])]
    tried = subprocess.run([*enter, "ip", "link"], capture_output=True, text=True, timeout=30, check=False)
    if tried.returncode != 0:
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        spaces = Path("/proc/sys/user/max_user_namespaces")
        able = bool(int(status["CapEff"], 16) >> _CAP_SYS_ADMIN & 1) if root else int(spaces.read_text()) > 0
        words = f"no network of its own can be made: {tried.stderr.strip()}"
        if able:
            pytest.fail(f"{words}. Are unshare (util-linux) and ip (iproute2) installed?")
        pytest.skip(f"{words}; the kernel does not let this account")
    return enter


def test_in_a_network_of_its_own(folder: Path) -> None:
    """InspIRCd asks each user's own address for their name and believes it; IPv6 addresses need no interface."""
    enter = _own_network()
    script = (
        "ip link set lo up && ip -6 route add local 2001:db8:1::/48 dev lo && "
        f"exec {sys.executable} -m tests.bridges.irc.confined {folder / 'inspircd'}"
    )
    (folder / "inspircd").mkdir()
    done = subprocess.run(
        [*enter, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["freebind"] == [
        "@anna:one.test 2001:db8:1:1::1",
        "@anna:two.test 2001:db8:1:2::1",
        "@ben:one.test 2001:db8:1:1::2",
        "Matrix bridge 0::1",
    ]
    # No ~ in front: the server had its answer.
    assert found["inspircd"] == {
        "@anna:one.test": "anna@127.16.1.1",
        "@ben:one.test": "ben@127.16.1.2",
        "@anna:two.test": "anna2@127.16.2.1",
    }


async def test_inspircd_takes_our_word_for_addresses(rig: StartRig, inspircd: InspIRCd) -> None:
    """WEBIRC over TLS: the address is the user's, the connection counts as secure, the gateway is shown."""
    adapter = await rig(
        inspircd.tls_port,
        tls=True,
        tls_ca=str(inspircd.certificate.authority),
        addresses={"prefix": "2001:db8:1::/48", "block": 64},
        webirc={"password": inspircd.webirc_password, "gateway": "matrixgate"},
    )
    adapter.port = inspircd.port
    await adapter.puppet("@anna:hs.test")
    found = await whois(adapter, "anna")
    assert found["311"][3] == "2001:db8:1:1::1"
    assert "671" in found, "is using a secure connection"
    assert any("matrixgate" in " ".join(params) for params in found.values()), found


@pytest.mark.parametrize("secured", [False, True])
async def test_ngircd_takes_our_word_for_addresses(rig: StartRig, ngircd: NgIRCd, secured: bool) -> None:
    """A server that takes the gateway's name for the user's is told that."""
    adapter = await rig(
        ngircd.tls_port if secured else ngircd.port,
        tls=secured,
        tls_ca=str(ngircd.certificate.authority),
        addresses={"prefix": "2001:db8:1::/48", "block": 64},
        webirc={"password": ngircd.webirc_password, "gateway": "$USERNAME"},
    )
    adapter.port = ngircd.port
    await adapter.puppet("@anna:hs.test")
    found = await whois(adapter, "anna")
    assert found["311"][2:4] == ("anna", "2001:db8:1:1::1")


async def test_a_wrong_webirc_password_is_said(rig: StartRig, inspircd: InspIRCd) -> None:
    """The user's connection does not come to be, in the server's words; the bot's is not touched."""
    adapter = await rig(
        inspircd.port, addresses={"prefix": "2001:db8:1::/48"}, webirc={"password": "wrong"}, connect_timeout=20
    )
    anna = await adapter.make_puppet("@anna:hs.test")
    await anna.connect(None)
    state = await adapter.inbox.status(LoginStatus.DISCONNECTED, "@anna:hs.test")
    assert state.reason


async def test_inspircd_demands_tls(folder: Path, inspircd: InspIRCd) -> None:
    """STS of a real server: plain text is left at once, and the policy is stored with its time."""
    inspircd.modules.append("ircv3_sts")
    inspircd.config = f'<sts host="localhost" duration="1h" port="{inspircd.tls_port}">'
    await inspircd.restart()
    adapter = Rig(inspircd.port, host="localhost", tls_ca=str(inspircd.certificate.authority))
    try:
        await adapter.start()
        await adapter.puppet("@anna:hs.test")
        assert "671" in await whois(adapter, "anna")
        await eventually(lambda: any(key.startswith("sts/") for key in adapter.host.kv.values))
        port, duration, _ = json.loads(adapter.host.kv.values["sts/localhost"])
        assert (port, duration) == (inspircd.tls_port, 3600)
    finally:
        await adapter.stop()
