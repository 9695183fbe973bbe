"""Logging Matrix users in to accounts of their own: the steps, and the ways to prove it to the server."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge_core.api.errors import RejectedError
from bridge_core.api.ids import UserId
from bridge_core.api.login import AskUser, Complete, FieldKind, LoginField, LoginFlow, LoginStep
from bridges.irc.autocommands import CHANNEL
from bridges.irc.codec.message import LineError, parse
from bridges.irc.codec.sasl import External, Mechanism, Plain
from bridges.irc.codec.scram import SaslError, Scram
from bridges.irc.config import IrcConfig

PASSWORD: Final = "password"  # noqa: S105 - the name of a way
CERTIFICATE: Final = "certificate"
ACCOUNT: Final = "account"
FLOWS: Final = (
    LoginFlow(PASSWORD, "Account and password", "Log in to your account at the network's services with its password."),
    LoginFlow(CERTIFICATE, "Certificate", "Log in by a certificate that the bridge makes and your account knows."),
)
_LONGEST: Final = 255
_YEARS: Final = 20

Try = Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[str]]
"""Logs in once with these settings and secrets; the account that the server names. Raises RejectedError in words."""


def mechanisms(secrets: Mapping[str, str], settings: Mapping[str, str], *, secure: bool) -> list[Mechanism]:
    """The ways of a login, the best first. A password is never said in the clear without TLS."""
    ways: list[Mechanism] = []
    account, password = settings.get(ACCOUNT, ""), secrets.get(PASSWORD)
    if secrets.get(CERTIFICATE) and secure:
        ways.append(External())
    if password is not None:
        for name in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
            try:
                ways.append(Scram(account, password, name))
            except (SaslError, ValueError):
                continue  # SASLprep has no form of it: the server may know another
        if secure:
            ways.append(Plain(account, password))
    return ways


def bot_mechanisms(config: IrcConfig) -> list[Mechanism]:
    """The bot's login as its settings say."""
    sasl = config.sasl
    if sasl is None:
        return []
    password = sasl.password.get_secret_value() if sasl.password is not None else ""
    match sasl.mechanism:
        case "external":
            return [External(sasl.user)]
        case "plain":
            return [Plain(sasl.user, password)]
        case _:
            return [Scram(sasl.user, password, sasl.mechanism.upper())]


def bot_commands(config: IrcConfig, channel: str | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """What the bot says after each connection, or, with `channel`, when it has joined that: commands and
    parameters, to be serialized like all others."""
    lines = []
    for secret in config.bot_commands if channel is None else config.bot_join_commands:
        text = secret.get_secret_value().lstrip("/")
        try:
            line = parse((text if channel is None else text.replace(CHANNEL, channel)).encode())
        except LineError:
            continue
        lines.append((line.command, line.params))
    return lines


class AccountLogin:
    """One user's way through a flow. The login's id is the user's own: a user has one connection to the network."""

    def __init__(self, user: UserId, flow: str, attempt: Try) -> None:
        self._user = user
        self._flow = flow
        self._attempt = attempt
        self._certificate = ""
        self._trying: asyncio.Task[str] | None = None

    async def start(self) -> LoginStep:
        """Asks for account and password, or shows the certificate that is to be made known."""
        if self._flow == PASSWORD:
            return AskUser(
                "Your account at the network's services (usually NickServ) and its password. The bridge keeps them "
                "sealed, and logs in with them whenever it connects you.",
                (LoginField(ACCOUNT, "Account"), LoginField(PASSWORD, "Password", FieldKind.SECRET)),
            )
        self._certificate = await asyncio.to_thread(make_certificate, self._user)
        shown = fingerprints(self._certificate)
        return AskUser(
            "This is a new certificate of yours. Tell the services that it is for your account, from a client that is "
            f"logged in: /msg NickServ CERT ADD {shown['sha-256']} (or SHA-512: {shown['sha-512']}; SHA-1: "
            f"{shown['sha-1']}). Then name the account here.",
            (LoginField(ACCOUNT, "Account"),),
        )

    async def submit(self, answers: Mapping[str, str]) -> LoginStep:
        """Tries it on a connection of its own. Raises RejectedError: it may be answered again."""
        account = answers.get(ACCOUNT, "").strip()
        password = answers.get(PASSWORD, "")
        if not account or len(account) > _LONGEST or not account.isprintable() or " " in account:
            raise RejectedError("that is not the name of an account")
        if self._flow == PASSWORD and (not password or len(password) > _LONGEST or not password.isprintable()):
            raise RejectedError("that is not a password that can be sent")
        settings = {ACCOUNT: account}
        secrets = {PASSWORD: password} if self._flow == PASSWORD else {CERTIFICATE: self._certificate}
        named = await self._attempt(settings, secrets)
        return Complete(self._user, named or account, {ACCOUNT: named or account}, secrets)

    async def wait(self) -> LoginStep:
        """Nothing is ever waited for."""
        raise RejectedError("there is nothing to wait for")

    async def cancel(self) -> None:
        """Nothing is left behind: a try ends by itself."""


def make_certificate(user: UserId) -> str:
    """A new key and a certificate for it, as PEM. It says whose it is to nobody but who knows it. Blocks."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hashlib.sha256(user.encode()).hexdigest()[:32])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode() + private.decode()


def fingerprints(pem: str) -> dict[str, str]:
    """The digests of a certificate by which services know it, in hex. Raises ValueError."""
    found = x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    return {
        "sha-256": hashlib.sha256(found).hexdigest(),
        "sha-512": hashlib.sha512(found).hexdigest(),
        "sha-1": hashlib.sha1(found).hexdigest(),  # noqa: S324 - what some services ask for
    }
