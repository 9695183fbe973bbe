"""How the keys of encrypted rooms reach the bridge: with transactions or by /sync, and what is missing for either."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote

from bridge_core.cli.checks.files import REGENERATE
from bridge_core.cli.checks.report import Report
from bridge_core.config.encryption import EncryptionMode
from bridge_core.config.load import LoadedConfig

__all__ = ["Brought", "check_encryption"]

_TYPE: Final = "m.dummy"
_PATIENCE: Final = 5.0
"""Seconds that the homeserver may need to send the message on."""
_FILTER: Final = '{"room":{"rooms":[]},"presence":{"types":[]},"account_data":{"types":[]}}'
_RESTART: Final = "Restart the homeserver after changing it."
_FEATURES: Final = (
    "Synapse: set experimental_features.msc2409_to_device_messages_enabled and "
    "experimental_features.msc3202_transaction_extensions to true in homeserver.yaml, and let it read this "
    f"registration. {_RESTART}"
)
_OR_SYNC: Final = " Or set encryption.mode to sync."
_HELD: Final = (
    "encryption: if these are set already: a Synapse that was restarted while the bridge was away brings nothing "
    "before something is said in a room of the bridge. Say something there, and check again"
)
_LATE: Final = (
    "encryption: that works, but the bridge asks for one ghost's device after the other, so what is sent to that alone "
    f"may come minutes late. With transactions all comes at once. {_FEATURES}"
)
_SENDER: Final = (
    "Synapse serves all but the registration's sender: set appservice.sender to another name than the bot's, such as "
    f"bridgebot-sender, and run `matrix-bridge init --only-registration` (tokens are kept). {_RESTART}"
)


class Answer(Protocol):
    """What the homeserver answered."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> dict[str, Any]: ...
    @property
    def errcode(self) -> str: ...


Ask = Callable[..., Awaitable[Answer]]
"""Asks the homeserver: method, path behind /_matrix/client/v3/, and `json`."""


class Brought:
    """What transactions had with them while the check listened in the bridge's place."""

    def __init__(self) -> None:
        self.messages = False
        self.counts = False
        self.refused = False
        """Something came that is the bridge's: the homeserver brings nothing to devices until that is taken."""
        self.came = asyncio.Event()

    def look(self, body: Mapping[str, Any]) -> bool:
        """Look at a transaction (MSC4203, MSC3202; stable names or not); whether it may be taken in the bridge's place.

        Refused, Synapse drops what it had for devices. Typing and presence may be lost, events and keys may not.
        """
        found = body.get("to_device") or body.get("de.sorunome.msc2409.to_device") or []
        messages = found if isinstance(found, list) else []
        self.messages |= bool(messages)
        self.counts |= any("one_time_key" in key for key in body)
        taken = not body.get("events") and all(_is_ours(one) for one in messages)
        self.refused |= not taken
        if self.messages or self.refused:
            self.came.set()
        return taken


def _is_ours(message: Any) -> bool:
    """Whether a message is what the check has sent: the bot's to itself, of no meaning."""
    return (
        isinstance(message, Mapping)
        and message.get("type") == _TYPE
        and "sender" in message
        and message["sender"] == message.get("to_user_id")
    )


async def check_encryption(
    ask: Ask, loaded: LoadedConfig, brought: Brought | None, report: Report, *, asks: bool = True
) -> None:
    """Say which way applies. `brought` is None where the running bridge gets the transactions itself.

    `asks`: the registration asks for keys with transactions. Where it does not, that has been said.
    """
    mode = loaded.config.encryption.mode
    if mode is EncryptionMode.OFF:
        return
    bot = quote(f"@{loaded.config.appservice.bot}:{loaded.config.homeserver.domain}", safe="")
    device = loaded.config.encryption.device
    as_bot = f"user_id={bot}&device_id={device}"
    # Before the first start of the bridge a bot that is not the registration's sender does not exist.
    name = {"type": "m.login.application_service", "username": loaded.config.appservice.bot, "inhibit_login": True}
    await ask("POST", "register", json=name)
    made = await ask("PUT", f"devices/{device}?user_id={bot}", json={"display_name": "Matrix bridge"})
    if made.status not in (200, 201):
        report.error(
            "encryption",
            f"the homeserver makes no devices for the bridge's users (HTTP {made.status} {made.errcode})",
            f"Set io.element.msc4190: true in the registration, on a homeserver that knows it. {_RESTART}",
        )
        return
    me = await ask("GET", f"account/whoami?{as_bot}")
    if me.status != 200 or me.body.get("device_id") != device:
        report.error(
            "encryption",
            "the homeserver does not let the bridge act as a device (`device_id`, specification v1.17)",
            "It cannot be used with encryption: set encryption.mode to off, or use another homeserver.",
        )
        return
    # Before the sync, which may bring presence.
    pushes = await _pushes(ask, as_bot, loaded, brought) if asks and mode is not EncryptionMode.SYNC else False
    sync = f"sync?{as_bot}&timeout=0&set_presence=offline&filter={quote(_FILTER, safe='')}"
    syncs = (await ask("GET", sync)).status
    where = (
        "the running bridge gets the transactions" if brought is None else "events wait for the bridge to be started"
    )
    _say(mode, report, syncs=syncs, pushes=pushes, unseen=where, asks=asks)


async def _pushes(ask: Ask, as_bot: str, loaded: LoadedConfig, brought: Brought | None) -> bool | None:
    """Whether transactions bring keys; None where it cannot be seen. The bot sends its own device a message."""
    if brought is None:
        return None
    bot = f"@{loaded.config.appservice.bot}:{loaded.config.homeserver.domain}"
    body: dict[str, Any] = {"messages": {bot: {loaded.config.encryption.device: {}}}}
    path = f"sendToDevice/{_TYPE}/check{secrets.token_hex(8)}?{as_bot}"
    if (await ask("PUT", path, json=body)).status != 200:
        return False
    try:
        async with asyncio.timeout(_PATIENCE):
            await brought.came.wait()
    except TimeoutError:
        pass
    if brought.refused and not brought.messages:
        return None
    return brought.messages and brought.counts


def _say(mode: EncryptionMode, report: Report, *, syncs: int, pushes: bool | None, unseen: str, asks: bool) -> None:
    auto = mode is EncryptionMode.AUTO
    if pushes:
        report.ok(f"encryption: keys come with transactions ({_named(mode, EncryptionMode.APPSERVICE)})")
    elif pushes is None:
        report.note(f"encryption: {unseen}, so whether transactions bring keys was not looked at")
    elif mode is EncryptionMode.APPSERVICE and not asks:
        report.note(
            "encryption: the registration asks for no keys, so whether transactions bring them was not looked at"
        )
    elif auto and syncs != 200 and not asks:
        report.error("encryption", "keys come neither with transactions nor by /sync", REGENERATE)
    elif mode is EncryptionMode.APPSERVICE or (auto and syncs != 200):
        advice = _FEATURES + (_OR_SYNC if syncs == 200 else "")
        report.error("encryption", "transactions bring no messages to devices, or no key counts", advice)
    elif syncs == 200:
        why = ", since transactions bring none" if auto else ""
        report.ok(f"encryption: keys are asked for by /sync ({_named(mode, EncryptionMode.SYNC)}){why}")
        if auto and asks:
            report.note(_LATE)
    if pushes is False and asks and mode is not EncryptionMode.SYNC:
        report.note(_HELD)
    if syncs != 200:
        say = report.error if mode is EncryptionMode.SYNC else report.warning
        what = f"the homeserver has no /sync for the bot (HTTP {syncs}): keys that come during an outage are lost to it"
        say("encryption", what if mode is not EncryptionMode.SYNC else what.partition(":")[0], _SENDER)


def _named(mode: EncryptionMode, applies: EncryptionMode) -> str:
    return f"{applies.value} mode{' applies' * (mode is not applies)}"
